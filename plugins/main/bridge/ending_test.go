package main

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestPodThatIsEnding: the host's end of a pair goes with the pod's, and has the attachment's name until then. One that was
// killed before it had its alias is no other's.
func TestPodThatIsEnding(t *testing.T) {
	for of, spoil := range map[string]string{
		"an ADD":              "",
		"one that was killed": `ip link set "$(ip -o link show type veth | sed -n 's/.*: \(veth[^@]*\)@.*/\1/p')" alias ""`,
	} {
		t.Run(of, func(t *testing.T) {
			kerneltest.Ending(t, "bridge", "", spoil, `{"cniVersion":"1.1.0","name":"n","type":"bridge","bridge":"br0"}`, unix.RTNLGRP_NSID)
		})
	}
}
