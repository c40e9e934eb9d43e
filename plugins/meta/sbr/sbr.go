package main

import (
	"fmt"
	"net/netip"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/addr"
	"github.com/catena-cni/catena/internal/fact/route"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/plugin"
)

// Conf is sbr's own part of the network configuration.
type Conf struct {
	Table    *uint32  `json:"table" min:"1" max:"4294967295" doc:"the rules alone, to a table that others fill, such as by table in IPAM's routes; the other keys do nothing then"`
	Gateways []string `json:"gateways" doc:"next hops of the default routes, one for each family at most, where they are not IPAM's; they come before default routes that there are"`
	Hints    bool     `json:"addSourceHints" doc:"leave the interface's subnets in the main table too, with the address as the preferred source"`

	gateways map[bool]netip.Addr // by being of IPv4
}

// sbr has nothing on the host, and what it has in the pod ends with the pod's
// namespace: GC finds nothing.
var sbr = plugin.Plugin[Conf]{
	Name: "sbr", Chained: true, Renews: true, Validate: validate, Complete: complete, Want: want,
	Ready: func(k *kernel.Kernel, _ Conf) error { return route.RulesReady(k) },
}

func validate(_ *plugin.Call, c *Conf) error {
	c.gateways = map[bool]netip.Addr{}
	for _, text := range c.Gateways {
		gateway, err := netip.ParseAddr(text)
		if err != nil || gateway.Zone() != "" || gateway.IsUnspecified() || gateway.IsMulticast() {
			return fmt.Errorf("gateways has %q, which is no address of a gateway", text)
		}
		gateway = gateway.Unmap()
		if other, twice := c.gateways[gateway.Is4()]; twice {
			return fmt.Errorf("gateways has %v and %v, and can have one of each family", other, gateway)
		}
		c.gateways[gateway.Is4()] = gateway
	}
	return nil
}

// addressesMax is many times what a pod has. The kernel goes through all rules for
// each that it takes, and for each packet.
const addressesMax = 1000

func complete(call plugin.Call, c Conf) error {
	list := sources(call, c)
	if len(list) == 0 {
		err := fmt.Errorf("prevResult has %s, and sbr routes by them", call.NoAddress())
		return cni.Hint(err, "give the plugin that makes the interface an ipam, or leave sbr out")
	}
	if len(list) > addressesMax {
		return fmt.Errorf("%s has %d addresses, and sbr makes a table for each of %d at most", call.IfName, len(list), addressesMax)
	}
	for _, s := range list {
		p := s.Prefix
		if c.gateways[p.Addr().Is4()] == p.Addr() { // the kernel would take it for a way without a gateway
			return fmt.Errorf("gateways has %v, which is the pod's own address", p.Addr())
		}
	}
	return nil
}

// want lists what holds while the pod answers by the interface that was asked.
// The main table is changed last, when everything else is in place.
func want(call plugin.Call, c Conf) fact.Plan {
	s := route.Sources{Owner: call.Attachment, Link: call.IfName, List: sources(call, c), Routes: route.OfResult(call.IfName, call.Result.Routes, call.IPs())}
	if c.Table != nil {
		s.Table = int(*c.Table)
	}
	p := fact.Plan{route.Rules{Sources: s}, route.PerSourceTable{Sources: s}}
	if c.Hints && c.Table == nil { // the kernel takes no source address that it is still looking for duplicates of
		p = append(p, addr.Settled{Link: call.IfName, Addrs: ipv6(s.List)})
	}
	return append(p, route.MoveFromMain{Sources: s, Hints: c.Hints})
}

func sources(call plugin.Call, c Conf) (out []route.Source) {
	seen := map[netip.Addr]bool{}
	for _, ip := range call.IPs() {
		if i := cni.InterfaceAt(call.Result, ip); i != nil && i.Sandbox != "" && i.Name != call.IfName {
			continue // it is the pod's, and its routes are not by this interface
		}
		s := route.Source{Prefix: cni.Prefix(ip.Address)}
		four := s.Prefix.Addr().Is4()
		if gateway, given := c.gateways[four]; given {
			s.Gateway, s.Instead = gateway, true
		} else if gateway := cni.Address(ip.Gateway); gateway.IsValid() && !gateway.IsUnspecified() && gateway.Is4() == four {
			s.Gateway = gateway
		}
		if a := s.Prefix.Addr(); !seen[a] {
			seen[a] = true
			out = append(out, s)
		}
	}
	return out
}

func ipv6(list []route.Source) (out []netip.Addr) {
	for _, s := range list {
		if s.Prefix.Addr().Is6() {
			out = append(out, s.Prefix.Addr())
		}
	}
	return out
}
