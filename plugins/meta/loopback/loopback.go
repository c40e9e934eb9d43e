package main

import (
	"net/netip"

	"github.com/catena-cni/catena/internal/addr"
	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/link"
	"github.com/catena-cni/catena/internal/plan"
	"github.com/catena-cni/catena/internal/plugin"
)

// Conf is loopback's own part of the network configuration: it has none.
type Conf struct{}

var loopback = plugin.Plugin[Conf]{Name: "loopback", Nameless: true, Complete: complete, Want: want}

// lo is the interface, whatever CNI_IFNAME says.
const lo = "lo"

// want lists what holds while a pod's loopback is up. The kernel gives it its
// addresses by itself, and the one of IPv6 only where that is on.
func want(plugin.At, Conf) plan.Plan {
	return plan.Plan{
		link.Loopback{Name: lo},
		addr.Loopback{Link: lo, Prefix: netip.MustParsePrefix("127.0.0.1/8")},
		addr.Loopback{Link: lo, Prefix: netip.MustParsePrefix("::1/128")},
	}
}

// complete reports the interface. Behind other plugins the result stays theirs.
func complete(at plugin.At, _ Conf) error {
	if at.Prev != nil {
		return nil
	}
	index := 0
	at.Result.Interfaces = []*cni.Interface{{Name: lo, Mac: "00:00:00:00:00:00", Sandbox: at.Netns}}
	for _, p := range []string{"127.0.0.1/8", "::1/128"} {
		at.Result.IPs = append(at.Result.IPs, &cni.IPConfig{Interface: &index, Address: cni.IPNet(netip.MustParsePrefix(p))})
	}
	return nil
}
