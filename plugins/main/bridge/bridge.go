package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/addr"
	"github.com/catena-cni/catena/internal/fact/link"
	"github.com/catena-cni/catena/internal/fact/route"
	"github.com/catena-cni/catena/internal/fact/sysctl"
	"github.com/catena-cni/catena/internal/firewall/nft"
	"github.com/catena-cni/catena/internal/ipam/builtin"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/plugin"
	"github.com/catena-cni/catena/internal/plugin/filter"
	"github.com/catena-cni/catena/internal/upstream"
)

var bridge = plugin.Plugin[Conf]{
	Name: "bridge", Builtin: builtin.Of, Args: []string{"MAC", "IP", "GATEWAY"},
	Validate: validate, Complete: complete, MTU: func(c Conf) int { return int(c.MTU) }, Want: want, Ready: ready,
	Traces: func(t *plugin.Traces, k *kernel.Kernel, _ Conf) {
		filter.ByLink(t, k)
		t.Found(route.Attachments())
	},
	Collect: func(k *kernel.Kernel, gc plugin.GC, _ Conf) error {
		return errors.Join(filter.Collect(gc), upstream.CollectGuards(k))
	},
}

// want lists what holds while a pod is attached. Who guards and masquerades
// comes before the link: so they are there before its first packet, and on DEL
// the link goes first.
func want(call plugin.Call, c Conf) fact.Plan {
	veth := link.Veth{Owner: call.Attachment, MAC: c.mac, MTU: int(c.MTU), Bridge: c.Bridge}
	host, _ := filter.HostEnd(call)
	p := fact.Plan{
		link.Bridge{Name: c.Bridge, MTU: int(c.MTU), VLANFiltering: c.filters(), Promisc: c.PromiscMode, Reported: reported(call, c)},
		upstream.OrUpstreams(nft.Guard(call.Attachment, guarded(call, c)), upstream.Guard{Owner: call.Attachment}),
	}
	p = append(p, filter.Masquerade(call, c.IPMasq, c.IPMasqBackend)...)
	p = append(p, veth, filter.TheirLink(call), link.Port{Link: host, Hairpin: c.HairpinMode, Isolated: c.PortIsolation})
	if c.VLAN != 0 || len(c.trunks) > 0 {
		p = append(p, link.VLANs{Link: host, Bridge: c.Bridge, Access: c.access(), Trunk: c.trunks, KeepDefault: c.KeepDefaultVLAN})
	}
	p = append(p, gateways(call, c)...)
	if c.NoInterface {
		return nft.WithRestore(p)
	}
	pod := plugin.Interface{Name: call.IfName, Port: host}
	if c.EnableDAD {
		pod.Detect = addr.Wait
		p = append(p, detection(call.IfName))
	}
	p = append(p, pod.Facts(call)...)
	return nft.WithRestore(append(p, neighbours(call, c)...))
}

// reported is the bridge's hardware address by the result. Upstream's plugin
// keeps the one of a bridge that is the pods' gateway, and lets that of another
// change with its ports.
func reported(call plugin.Call, c Conf) net.HardwareAddr {
	host, _ := filter.HostEnd(call)
	kept := host == call.HostLink() || c.IsGateway && !c.gatewayVLAN() && len(call.Result.IPs) > 0
	for _, i := range call.Result.Interfaces {
		if kept && i.Name == c.Bridge && i.Sandbox == "" {
			mac, _ := net.ParseMAC(i.Mac)
			return mac
		}
	}
	return nil
}

// guarded is the address that the pod must keep to, nil for any.
func guarded(call plugin.Call, c Conf) net.HardwareAddr {
	if !c.MACSpoofCheck {
		return nil
	}
	return c.podMAC(call)
}

// podMAC is the hardware address of the pod's interface.
func (c *Conf) podMAC(call plugin.Call) net.HardwareAddr {
	if c.mac != nil {
		return c.mac
	}
	return call.MAC("pod")
}

// gateways are the host's addresses behind which the pods reach the world. Where
// one is on no subnet of the pod's, the host has a route back to the pod.
func gateways(call plugin.Call, c Conf) (p fact.Plan) {
	back := route.Back{Owner: call.Attachment, Link: c.gatewayLink()}
	if !c.IsGateway || len(call.Result.IPs) == 0 {
		return fact.Plan{back}
	}
	if c.gatewayVLAN() {
		p = append(p, c.gatewayVLANLink())
	}
	var gateways []netip.Addr
	for _, ip := range call.IPs() {
		gw, pod := cni.Address(ip.Gateway), cni.Prefix(ip.Address)
		if !gw.IsValid() {
			continue
		}
		if !pod.Contains(gw) {
			back.Addrs = append(back.Addrs, pod.Addr())
		}
		p = append(p, addr.Gateway{Link: c.gatewayLink(), Prefix: subnet(gw, pod), Force: c.ForceAddress, Owned: call.HostLink()})
		gateways = append(gateways, gw)
	}
	return append(append(p, filter.Forwarding(gateways)...), back)
}

// subnet is the gateway's address with the pod's prefix length, where the pod is on
// that subnet. Else it is alone: the host may reach its neighbours elsewhere.
func subnet(gw netip.Addr, pod netip.Prefix) netip.Prefix {
	switch {
	case pod.Contains(gw):
		return netip.PrefixFrom(gw, pod.Bits())
	case route.IsLinkLocal(gw):
		return netip.PrefixFrom(gw, 64)
	}
	return netip.PrefixFrom(gw, gw.BitLen())
}

// gatewayLink is the interface that has the gateway addresses.
func (c *Conf) gatewayLink() string {
	if c.gatewayVLAN() {
		return c.gatewayVLANLink().Name()
	}
	return c.Bridge
}

// detection turns the look for duplicates on, with the nonce that tells an echo
// of one's own probe, as a hairpin port sends it, from a neighbour's (RFC 7527).
func detection(ifname string) fact.Fact {
	base := "net/ipv6/conf/" + ifname
	return sysctl.Setting{Side: kernel.Pod, Pairs: sysctl.Pairs{{Key: base + "/enhanced_dad", Value: "1"}, {Key: base + "/accept_dad", Value: "1"}}}
}

// neighbours tell the host itself who has the addresses now.
func neighbours(call plugin.Call, c Conf) (p fact.Plan) {
	if !c.IsGateway {
		return nil
	}
	for _, ip := range call.IPs() {
		p = append(p, addr.Neighbour{Link: c.gatewayLink(), Addr: cni.Prefix(ip.Address).Addr(), MAC: c.podMAC(call)})
	}
	return p
}

// complete lists the interfaces in upstream's order, which later plugins count
// on, and finds the gateways that IPAM did not name.
func complete(call plugin.Call, c Conf) error {
	r := call.Result
	r.Interfaces = []*cni.Interface{
		{Name: c.Bridge},
		{Name: call.HostLink(), Mac: call.MAC("host").String()},
		{Name: call.IfName, Mac: c.podMAC(call).String(), Sandbox: call.Netns},
	}
	if c.gatewayVLAN() && len(r.IPs) > 0 {
		r.Interfaces = append(r.Interfaces, &cni.Interface{Name: c.gatewayLink()})
	}
	for _, ip := range r.IPs {
		pod := 2
		ip.Interface = &pod
		if err := gateway(ip, c); err != nil {
			return err
		}
	}
	if c.IsDefaultGateway {
		defaultRoutes(r)
	}
	return nil
}

// gateway is the subnet's first address where IPAM named none.
func gateway(ip *cni.IPConfig, c Conf) error {
	p := cni.Prefix(ip.Address)
	if !p.IsValid() {
		return fmt.Errorf("IPAM gave %v, which is no address with a prefix length", ip.Address)
	}
	if !c.IsGateway || cni.Address(ip.Gateway).IsValid() {
		return nil
	}
	gw := p.Masked().Addr().Next()
	if !p.Contains(gw) || gw == p.Addr() {
		return fmt.Errorf("isGateway needs a gateway for %v, and its subnet has no room for one: let ipam name it", p)
	}
	ip.Gateway = gw.AsSlice()
	return nil
}

// defaultRoutes adds a default route for each family that has a gateway, and
// none yet.
func defaultRoutes(r *cni.Result) {
	for _, zero := range []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")} {
		has := slices.ContainsFunc(r.Routes, func(o *cni.Route) bool { return cni.Prefix(o.Dst) == zero })
		first := slices.IndexFunc(r.IPs, func(ip *cni.IPConfig) bool {
			gw := cni.Address(ip.Gateway)
			return gw.IsValid() && gw.Is6() == zero.Addr().Is6()
		})
		if !has && first >= 0 {
			r.Routes = append(r.Routes, &cni.Route{Dst: cni.IPNet(zero), GW: r.IPs[first].Gateway})
		}
	}
}

// portsMax is how many ports the kernel's bridge has (BR_MAX_PORTS less the one
// that it does not give out).
const portsMax = 1<<10 - 1

func ready(k *kernel.Kernel, c Conf) error {
	errs := []error{
		k.HasKind("veth"), filter.MasqueradeReady(c.IPMasq, c.IPMasqBackend),
		link.Bridge{Name: c.Bridge, VLANFiltering: c.filters()}.Usable(k),
	}
	if c.MACSpoofCheck {
		errs = append(errs, nft.GuardReady())
	}
	ports, err := link.Ports(k, c.Bridge)
	if ports >= portsMax {
		err = fmt.Errorf("bridge %s has %d ports, and can have no more", c.Bridge, ports)
	}
	return errors.Join(append(errs, err)...)
}
