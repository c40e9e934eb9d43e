package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/route"
	"github.com/catena-cni/catena/internal/firewall/conntrack"
	"github.com/catena-cni/catena/internal/firewall/iptables"
	"github.com/catena-cni/catena/internal/firewall/nft"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/plugin"
	"github.com/catena-cni/catena/internal/plugin/filter"
	"github.com/catena-cni/catena/internal/upstream"
)

var portmap = plugin.Plugin[Conf]{
	Name: "portmap", Chained: true, HostOnly: true, Renews: true,
	Validate: validate, Complete: complete, Want: want,
	Ready: func(_ *kernel.Kernel, c Conf) error {
		if c.byIptables() {
			return errors.Join(iptables.Ready(), nft.Ready()) // of nftables is the guard of the links
		}
		return nft.Ready()
	},
	Traces: func(t *plugin.Traces, _ *kernel.Kernel, _ Conf) {
		t.Found(nft.Attachments(nft.KindPorts, nft.KindLocalnet))
		t.Found(iptables.Attachments(iptables.KindPorts))
		filter.Gone(t)
	},
	Collect: func(_ *kernel.Kernel, gc plugin.GC, _ Conf) error {
		return errors.Join(nft.Collect(gc.Network, gc.Keeps), iptables.CollectPorts(gc.Network, gc.Valid), upstream.CollectPorts(gc.Network, gc.Valid))
	},
}

// want lists what holds while host ports lead to the pod. The ports come first:
// they are refused where another pod has one of them. The guard of the link
// comes before what it guards against.
func want(call plugin.Call, c Conf) fact.Plan {
	mappings, _ := c.mappings(call)
	local := localnet(mappings, c)
	theirs := upstreams(call)
	return nft.WithRestore(append(ports(call, mappings, c, theirs), fact.Plan{
		upstream.Optional{Fact: nft.NewLocalnet(call.Attachment, local), Theirs: theirs},
		route.Localnet{Pod: local, Own: call.HostLink()},
		conntrack.Forget(nft.Flows(mappings)),
	}...))
}

// ports lead to the pod by one backend. DEL takes away what either has, and
// upstream's.
func ports(call plugin.Call, mappings []nft.Mapping, c Conf, theirs upstream.Ports) fact.Plan {
	if c.byIptables() {
		byIptables := iptables.Ports{
			Owner: call.Attachment, Mappings: mappings, From: c.masquerades(), MarkBit: c.bit(), SetMarkChain: c.SetMarkChain,
			V4: c.ConditionsV4, V6: c.ConditionsV6,
		}
		return fact.Plan{nft.Ports(call.Attachment, nil, nft.NoSources, nil), upstream.OrUpstreams(byIptables, theirs)}
	}
	byNft := nft.Ports(call.Attachment, mappings, c.masquerades(), c.profile)
	return fact.Plan{iptables.Ports{Owner: call.Attachment}, upstream.OrUpstreams(byNft, theirs)}
}

// upstreams are the ports that upstream's portmap may have led to the pod.
func upstreams(call plugin.Call) upstream.Ports {
	theirs := upstream.Ports{Owner: call.Attachment}
	for _, p := range addresses(call) {
		theirs.Addrs = append(theirs.Addrs, p.Addr())
	}
	return theirs
}

// localnet is the pod's address that 127.0.0.1 is to lead to. IPv6 has no such
// thing: nothing answers to ::1 but the host itself.
func localnet(mappings []nft.Mapping, c Conf) netip.Addr {
	four := slices.IndexFunc(mappings, func(m nft.Mapping) bool { return m.Host.Is4() })
	if four < 0 || c.masquerades() == nft.NoSources {
		return netip.Addr{}
	}
	return mappings[four].Pod.Addr()
}

// complete refuses mappings that nothing can come of. The result is the one of
// the plugin before.
func complete(call plugin.Call, c Conf) error {
	_, err := c.mappings(call)
	return err
}

// mappings are the ports with the pod's addresses that they lead to: the first
// of each family.
func (c *Conf) mappings(call plugin.Call) ([]nft.Mapping, error) {
	if len(c.ports) == 0 {
		return nil, nil
	}
	pods := addresses(call)
	var all []nft.Mapping
	for _, p := range c.ports {
		all = append(all, p.mappings(pods)...)
	}
	for _, p := range c.ports {
		if len(p.mappings(pods)) == 0 && !p.elsewhere(all) {
			return nil, p.unfit(call, pods)
		}
	}
	return nft.Merge(all)
}

// addresses are the pod's first addresses of each family.
func addresses(call plugin.Call) (pods []netip.Prefix) {
	for _, p := range call.Prefixes() {
		same := func(o netip.Prefix) bool { return o.Addr().Is4() == p.Addr().Is4() }
		if p.IsValid() && !slices.ContainsFunc(pods, same) {
			pods = append(pods, p)
		}
	}
	return pods
}

func (p port) mappings(pods []netip.Prefix) (out []nft.Mapping) {
	for _, pod := range pods {
		host := p.host
		if !host.IsValid() {
			host = unspecified(pod.Addr())
		}
		if host.Is4() == pod.Addr().Is4() {
			out = append(out, nft.Mapping{Protocol: p.protocol, Host: host, HostPort: p.from, Pod: pod, PodPort: p.to})
		}
	}
	return out
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// elsewhere reports whether a wildcard of a family that the pod does not have
// is of a port that leads to the pod by the other family: runtimes ask for both
// wildcards whatever the pod has.
func (p port) elsewhere(all []nft.Mapping) bool {
	return p.host.IsUnspecified() && slices.ContainsFunc(all, func(m nft.Mapping) bool {
		return m.Protocol == p.protocol && m.HostPort == p.from
	})
}

func (p port) unfit(call plugin.Call, pods []netip.Prefix) error {
	if len(pods) == 0 {
		return fmt.Errorf("%s: prevResult has %s, and port %d leads to one", p.mentioned, call.NoAddress(), p.from)
	}
	return fmt.Errorf("%s: hostIP is %v, and %s has no address of that family but %v", p.mentioned, p.host, call.IfName, pods)
}
