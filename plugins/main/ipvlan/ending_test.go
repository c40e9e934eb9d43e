package main

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestPodThatIsEnding: no two ipvlans of a master can have the same address.
func TestPodThatIsEnding(t *testing.T) {
	kerneltest.Needs(t, "ipvlan")
	kerneltest.Ending(t, "ipvlan", "ip link add eth0 type veth peer name lan0; ip link set eth0 up; ip link set lan0 up", "",
		`{"cniVersion":"1.1.0","name":"n","type":"ipvlan","master":"eth0","ipam":{"type":"static","addresses":[{"address":"10.1.2.3/24"}]}}`, unix.RTNLGRP_LINK)
}
