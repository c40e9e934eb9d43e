package main

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestPodThatIsEnding: no two macvlans of a master can be up with the same address, which is made of the attachment.
func TestPodThatIsEnding(t *testing.T) {
	kerneltest.Ending(t, "macvlan", "ip link add eth0 type veth peer name lan0; ip link set eth0 up; ip link set lan0 up", "",
		`{"cniVersion":"1.1.0","name":"n","type":"macvlan","master":"eth0"}`, unix.RTNLGRP_LINK)
}
