package plugin

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/catena-cni/catena/internal/cni"
)

// Route is a route of the result, as the configuration of an IPAM plugin has it.
type Route struct {
	Dst      string `json:"dst" doc:"the destination, as in 0.0.0.0/0"`
	GW       string `json:"gw" doc:"the gateway; the interface's own where it is not given"`
	MTU      int    `json:"mtu" min:"0" doc:"MTU on this route in bytes"`
	AdvMSS   int    `json:"advmss" min:"0" doc:"TCP segment size that the pod announces on this route"`
	Priority int    `json:"priority" min:"0" doc:"metric of the route"`
	Table    *int   `json:"table" min:"0" doc:"routing table; the main one where it is not given"`
	Scope    *int   `json:"scope" min:"0" max:"255" doc:"scope of the route: 0 global, 253 link, 254 host"`
}

// ReadRoutes reads the routes of ipam.routes.
func ReadRoutes(all []Route) (routes []*cni.Route, err error) {
	var errs []error
	for i, r := range all {
		read, err := r.read(fmt.Sprintf("ipam.routes[%d]", i))
		errs = append(errs, err)
		routes = append(routes, read)
	}
	return routes, errors.Join(errs...)
}

func (r Route) read(key string) (*cni.Route, error) {
	dst, err := netip.ParsePrefix(r.Dst)
	if err != nil || dst.Addr().Is4In6() && dst.Bits() < 96 {
		return nil, fmt.Errorf("%s.dst is %q: a destination is written like 10.0.0.0/8", key, r.Dst)
	}
	gw, err := ReadAddress(key+".gw", r.GW)
	if err != nil {
		return nil, err
	}
	return &cni.Route{
		Dst: cni.IPNet(unmap(dst)), GW: gw.AsSlice(), MTU: r.MTU, AdvMSS: r.AdvMSS,
		Priority: r.Priority, Table: r.Table, Scope: r.Scope,
	}, nil
}

// unmap turns ::ffff:10.0.0.0/104 into 10.0.0.0/8.
func unmap(p netip.Prefix) netip.Prefix {
	if !p.Addr().Is4In6() || p.Bits() < 96 {
		return p
	}
	return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
}

// ReadAddress reads an address that may be left out. The error names the key.
func ReadAddress(key, text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%s is %q, which is no IP address", key, text)
	}
	return a.Unmap(), nil
}

// ReadPrefix reads an address, or a prefix, whose bits behind the length are
// kept; an address alone is as long as can be. The error names the key.
func ReadPrefix(key, text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return unmap(p), nil
	}
	a, err := ReadAddress(key, text)
	if err != nil || !a.IsValid() {
		return netip.Prefix{}, fmt.Errorf("%s is %q, which is no IP address, with or without a prefix length", key, text)
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// ReadInterfaceAddress reads an address with the prefix length of its subnet,
// which an interface can have. The error names the key.
func ReadInterfaceAddress(key, text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() && p.Bits() < 96 {
		return p, fmt.Errorf("%s is %q: an address is written with the length of its subnet's prefix, like 10.1.2.3/24", key, text)
	}
	p = unmap(p)
	switch a := p.Addr(); {
	case a.IsUnspecified() || a.IsMulticast():
		return p, fmt.Errorf("%s is %s, which no interface can have", key, p)
	case a.Is4() && p.Bits() < 31 && !p.Contains(a.Next()):
		return p, fmt.Errorf("%s is %s, which is the broadcast address of its subnet", key, p)
	}
	return p, nil
}

// HasRoom holds numbers of addresses, by family, against results of old
// versions, which have room for one of each.
func HasRoom(version string, four, six int) error {
	if version == "" {
		version = "0.1.0"
	}
	if most := max(four, six); most > 1 && !cni.AtLeast(version, "0.3.0") {
		return fmt.Errorf("there are %d addresses of one family to give, and a result of cniVersion %s has room for one: raise cniVersion to 0.3.0 or more", most, version)
	}
	return nil
}
