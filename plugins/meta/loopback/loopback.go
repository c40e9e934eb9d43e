package main

import (
	"net/netip"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/addr"
	"github.com/catena-cni/catena/internal/fact/link"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/plugin"
)

// Conf is loopback's own part of the network configuration: it has none.
type Conf struct{}

var loopback = plugin.Plugin[Conf]{Name: "loopback", AllowNoName: true, Complete: complete, Want: want, Report: report}

// lo is the interface, whatever CNI_IFNAME says.
const lo = "lo"

// own are the addresses that the kernel gives lo by itself, the one of IPv6
// only where that is on.
var own = []addr.Loopback{
	{Link: lo, Prefix: netip.MustParsePrefix("127.0.0.1/8")},
	{Link: lo, Prefix: netip.MustParsePrefix("::1/128")},
}

// want lists what holds while a pod's loopback is up.
func want(call plugin.Call, _ Conf) fact.Plan {
	return fact.Plan{link.Loopback{Name: lo, Owner: call.Attachment}, own[0], own[1]}
}

// complete reports the interface. Behind other plugins the result stays theirs.
func complete(call plugin.Call, _ Conf) error {
	if call.Prev == nil {
		call.Result.Interfaces = []*cni.Interface{{Name: lo, Mac: "00:00:00:00:00:00", Sandbox: call.Netns}}
	}
	return nil
}

// report adds the addresses that are there.
func report(k *kernel.Kernel, call plugin.Call) error {
	if call.Prev != nil {
		return nil
	}
	for _, a := range own {
		if a.There(k) {
			index := 0
			call.Result.IPs = append(call.Result.IPs, &cni.IPConfig{Interface: &index, Address: cni.IPNet(a.Prefix)})
		}
	}
	return nil
}
