package route

import (
	"net/netip"
	"slices"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kernel"
)

// OfResult are the result's routes as facts, with the pod's addresses. A route without a gateway goes by
// way of the family's first one. Routes that differ in their gateway alone are
// one route with several paths.
func OfResult(ifname string, routes []*cni.Route, ips []*cni.IPConfig) []Route {
	var out []Route
	at := map[string]int{} // the places of routes in out, by all but their gateways
	for _, r := range routes {
		f := routeFact(ifname, r, ips)
		bare := f
		bare.Via = nil
		i, there := at[bare.String()]
		if !there {
			at[bare.String()] = len(out)
			out = append(out, f)
			continue
		}
		for _, via := range f.Via {
			if !slices.Contains(out[i].Via, via) {
				out[i].Via = append(out[i].Via, via)
			}
		}
	}
	return out
}

func routeFact(ifname string, r *cni.Route, ips []*cni.IPConfig) Route {
	dst := cni.Prefix(r.Dst).Masked()
	f := Route{Side: kernel.Pod, Link: ifname, Dst: dst, Priority: r.Priority, MTU: r.MTU, AdvMSS: r.AdvMSS, Scope: r.Scope}
	if r.Table != nil {
		f.Table = *r.Table
	}
	via := cni.Address(r.GW)
	const linkScope = 253 // RT_SCOPE_LINK: on the link itself, without a gateway
	if !via.IsValid() && (r.Scope == nil || *r.Scope != linkScope) {
		via = firstGateway(ips, dst.Addr().Is6())
	}
	if via.IsValid() && !via.IsUnspecified() {
		f.Via = []netip.Addr{via}
		f.OnLink = !reaches(ips, via)
	}
	return f
}

func firstGateway(ips []*cni.IPConfig, six bool) netip.Addr {
	for _, ip := range ips {
		if gw := cni.Address(ip.Gateway); gw.IsValid() && gw.Is6() == six {
			return gw
		}
	}
	return netip.Addr{}
}

// reaches reports whether an address of the interface has the gateway on its
// subnet, or none need.
func reaches(ips []*cni.IPConfig, via netip.Addr) bool {
	return IsLinkLocal(via) || slices.ContainsFunc(ips, func(ip *cni.IPConfig) bool {
		return cni.Prefix(ip.Address).Contains(via)
	})
}
