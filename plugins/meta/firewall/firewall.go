package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/firewall/firewalld"
	"github.com/catena-cni/catena/internal/firewall/iptables"
	"github.com/catena-cni/catena/internal/firewall/nft"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/plugin"
	"github.com/catena-cni/catena/internal/plugin/filter"
	"github.com/catena-cni/catena/internal/upstream"
)

var firewall = plugin.Plugin[Conf]{
	Name: "firewall", Chained: true, HostOnly: true, Renews: true,
	Validate: validate, Complete: complete, Want: want,
	Ready: ready, Traces: traces, Collect: collect,
}

// want lists what holds while the pod is let through. The policy comes before
// what opens the way. A backend that is not the configured one has an idle fact:
// DEL removes what a former configuration, or upstream's plugin, has asked of it.
func want(call plugin.Call, c Conf) fact.Plan {
	pods := addresses(call)
	open := nft.NewForward(call.Attachment, c.admin())
	rules := iptables.Forward{Owner: call.Attachment, Admin: c.admin(), Known: pods}
	source := firewalld.Source{Owner: call.Attachment, Zone: c.zone()}
	switch c.backend() {
	case backendFirewalld:
		source.Pods = pods
	case backendIPTables:
		rules.Addrs = pods
	case backendNFTables:
		open = nft.NewForward(call.Attachment, c.admin(), pods...)
	}
	return nft.WithRestore(append(policy(call, c), upstream.OrUpstreams(open, upstream.Forward{Addrs: pods}), rules, source))
}

// policy keeps the pod's bridge from others, and the pod from those on it.
func policy(call plugin.Call, c Conf) fact.Plan {
	bridge, links := hostSide(call)
	pods := addresses(call)
	isolation := iptables.Isolation{Owner: call.Attachment}
	between := nft.NewBridgePolicy(call.Attachment)
	isolatedLinks := nft.IsolatedLinks(call.Attachment)
	isolated := c.IngressPolicy == "isolated"
	switch {
	case c.IngressPolicy == "open":
	case c.backend() == backendIPTables:
		isolation.Bridge, isolation.Ports = bridge, isolated
		isolation.Four = slices.ContainsFunc(pods, netip.Addr.Is4)
		isolation.Six = slices.ContainsFunc(pods, netip.Addr.Is6)
	default:
		between.Bridge, between.Isolated = bridge, isolated
		if isolated {
			isolatedLinks = nft.IsolatedLinks(call.Attachment, links...)
		}
		if len(pods) > 0 {
			between.Pod = pods[0]
		}
	}
	return fact.Plan{isolation, between, isolatedLinks}
}

// addresses are the pod's.
func addresses(call plugin.Call) (pods []netip.Addr) {
	for _, p := range call.Prefixes() {
		if a := p.Addr(); a.IsValid() && !slices.Contains(pods, a) {
			pods = append(pods, a)
		}
	}
	return pods
}

// hostSide gives the bridge, which is the result's first interface, and the
// links on the host behind it.
func hostSide(call plugin.Call) (bridge string, links []string) {
	own := call.Interface()
	for i, l := range call.Result.Interfaces {
		switch {
		case l == nil || l == own || l.Sandbox != "" || cni.CheckIfName(l.Name) != nil || l.Name == "":
		case i == 0:
			bridge = l.Name
		default:
			links = append(links, l.Name)
		}
	}
	return bridge, links
}

// complete refuses a policy about a bridge that is not there. The result is the
// one of the plugin before.
func complete(call plugin.Call, c Conf) error {
	bridge, _ := hostSide(call)
	if c.IngressPolicy == "open" || bridge != "" {
		return nil
	}
	err := fmt.Errorf("ingressPolicy is %q, and the first interface of prevResult is no bridge of the host", c.IngressPolicy)
	return cni.Hint(err, "put firewall behind a plugin that reports its bridge first, as bridge does, or leave ingressPolicy out")
}

func ready(_ *kernel.Kernel, c Conf) error {
	switch c.backend() {
	case backendFirewalld:
		if err := firewalld.Ready(c.zone()); err != nil {
			return err
		}
		return nft.Ready()
	case backendIPTables:
		return iptables.Ready()
	}
	return nft.ForwardReady()
}

func traces(t *plugin.Traces, _ *kernel.Kernel, _ Conf) {
	t.Found(nft.Attachments(nft.KindForward, nft.KindIngress, nft.KindIsolated))
	t.Found(firewalld.Attachments())
	t.Found(iptables.Attachments(iptables.KindForward, iptables.KindIsolation))
	filter.Gone(t)
	t.Gone(firewalld.Abandoned())
}

func collect(_ *kernel.Kernel, gc plugin.GC, c Conf) error {
	return errors.Join(nft.Collect(gc.Network, gc.Keeps), nft.RestoreForward(), firewalld.Restore(c.zone()))
}
