// Package plugintest makes what the functions of a plugin are given, and what
// comes of it, for tests of plans.
package plugintest

import (
	"net/netip"
	"strings"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/plugin"
	"github.com/catena-cni/catena/internal/state/name"
)

// At is the interface eth0 of a container in the network n, after IPAM gave it
// addresses. Each is a prefix, with its gateway behind a blank: an address,
// none, or, where nothing is said, the first address of the subnet.
func At(id string, addresses ...string) plugin.Call {
	call := plugin.Call{
		Attachment: name.Attachment{Network: "n", ContainerID: id, IfName: "eth0"},
		Netns:      "/run/netns/" + id, Result: cni.NewResult(),
	}
	for _, text := range addresses {
		call.IPAM = "host-local"
		prefix, gateway, given := strings.Cut(text, " ")
		p := netip.MustParsePrefix(prefix)
		ip := &cni.IPConfig{Address: cni.IPNet(p)}
		switch {
		case !given:
			ip.Gateway = p.Masked().Addr().Next().AsSlice()
		case gateway != "none":
			ip.Gateway = netip.MustParseAddr(gateway).AsSlice()
		}
		call.Result.IPs = append(call.Result.IPs, ip)
	}
	return call
}
