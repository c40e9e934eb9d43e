package main

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestPodThatIsEnding: a master has one link of a VLAN.
func TestPodThatIsEnding(t *testing.T) {
	kerneltest.Needs(t, "vlan")
	kerneltest.Ending(t, "vlan", "ip link add eth0 type veth peer name lan0; ip link set eth0 up; ip link set lan0 up", "",
		`{"cniVersion":"1.1.0","name":"n","type":"vlan","master":"eth0","vlanId":5}`, unix.RTNLGRP_LINK)
}
