package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/addr"
	"github.com/catena-cni/catena/internal/fact/link"
	"github.com/catena-cni/catena/internal/fact/route"
	"github.com/catena-cni/catena/internal/firewall/nft"
	"github.com/catena-cni/catena/internal/ipam/builtin"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/plugin"
	"github.com/catena-cni/catena/internal/plugin/filter"
)

// Conf is ptp's own part of the network configuration.
type Conf struct {
	IPMasq        bool       `json:"ipMasq" doc:"let pods out under the host's address, except to multicast groups"`
	IPMasqBackend string     `json:"ipMasqBackend" enum:"nftables,iptables" default:"nftables" doc:"what masquerades; iptables has upstream's chains and comments, and needs the package iptables"`
	MTU           plugin.MTU `json:"mtu" doc:"MTU in bytes of both ends; 0 takes the kernel's default, \"auto\" that of the host's default route"`
}

var ptp = plugin.Plugin[Conf]{
	Name: "ptp", Builtin: builtin.Of, NeedsIPAM: true,
	Complete: complete, MTU: func(c Conf) int { return int(c.MTU) }, Want: want,
	Ready: func(k *kernel.Kernel, c Conf) error {
		return errors.Join(k.HasKind("veth"), filter.MasqueradeReady(c.IPMasq, c.IPMasqBackend))
	},
	Traces:  func(t *plugin.Traces, k *kernel.Kernel, _ Conf) { filter.ByLink(t, k) },
	Collect: func(_ *kernel.Kernel, gc plugin.GC, _ Conf) error { return filter.Collect(gc) },
}

// want lists what holds while a pod is attached. The pod sends everything to
// its gateway, which is an address of the host's end of the pair, even what is
// for its own subnet; the host has one route to each of the pod's addresses.
func want(call plugin.Call, c Conf) fact.Plan {
	p := filter.Masquerade(call, c.IPMasq, c.IPMasqBackend)
	p = append(p, link.Veth{Owner: call.Attachment, MTU: int(c.MTU)}, filter.TheirLink(call))
	host, _ := filter.HostEnd(call)
	// The host is the only neighbour, and the link is new to it.
	pod := plugin.Interface{Name: call.IfName, NoPrefixRoutes: true, Quiet: true}
	var gateways []netip.Addr
	for _, ip := range call.IPs() {
		self, gw := cni.Prefix(ip.Address), cni.Address(ip.Gateway)
		if !slices.Contains(gateways, gw) {
			gateways = append(gateways, gw)
			p = append(p, addr.Addr{Side: kernel.Host, Link: host, Prefix: single(gw), NoPrefixRoute: true})
			pod.First = append(pod.First, route.Route{Side: kernel.Pod, Link: call.IfName, Dst: single(gw), Src: self.Addr()})
		}
		p = append(p, route.Route{Side: kernel.Host, Link: host, Dst: single(self.Addr())})
		subnet := route.Route{Side: kernel.Pod, Link: call.IfName, Dst: self.Masked(), Via: []netip.Addr{gw}, Src: self.Addr()}
		if !self.IsSingleIP() && !slices.ContainsFunc(pod.First, sameDestination(subnet)) {
			pod.First = append(pod.First, subnet)
		}
	}
	p = append(p, filter.Forwarding(gateways)...)
	return nft.WithRestore(append(p, pod.Facts(call)...))
}

// sameDestination finds the route of another address in the same subnet.
func sameDestination(r route.Route) func(fact.Fact) bool {
	return func(f fact.Fact) bool {
		other, ok := f.(route.Route)
		return ok && other.Dst == r.Dst
	}
}

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// complete lists the interfaces in upstream's order.
func complete(call plugin.Call, _ Conf) error {
	r := call.Result
	r.Interfaces = []*cni.Interface{
		{Name: call.HostLink(), Mac: call.MAC("host").String()},
		{Name: call.IfName, Mac: call.MAC("pod").String(), Sandbox: call.Netns},
	}
	for _, ip := range r.IPs {
		pod := 1
		ip.Interface = &pod
		if !cni.Address(ip.Gateway).IsValid() {
			return fmt.Errorf("ptp sends everything to a gateway, and IPAM named none for %v", cni.Prefix(ip.Address))
		}
	}
	return nil
}
