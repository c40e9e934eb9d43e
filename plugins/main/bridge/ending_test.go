package main

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestPodThatIsEnding: the host's end of a pair goes with the pod's, and has the attachment's name until then.
func TestPodThatIsEnding(t *testing.T) {
	kerneltest.Ending(t, "bridge", "", `{"cniVersion":"1.1.0","name":"n","type":"bridge","bridge":"br0"}`, unix.RTNLGRP_NSID)
}
