package ipam

import (
	"cmp"
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
	gw, err := cni.ReadAddress(key+".gw", r.GW)
	if err != nil {
		return nil, err
	}
	return &cni.Route{
		Dst: cni.IPNet(cni.Unmap(dst)), GW: gw.AsSlice(), MTU: r.MTU, AdvMSS: r.AdvMSS,
		Priority: r.Priority, Table: r.Table, Scope: r.Scope,
	}, nil
}

// HasRoom holds the addresses to give against results of old versions, which
// have room for one of each family.
func HasRoom[T interface{ Is4() bool }](version string, all []T) error {
	four := 0
	for _, a := range all {
		if a.Is4() {
			four++
		}
	}
	version = cmp.Or(version, "0.1.0")
	if most := max(four, len(all)-four); most > 1 && !cni.AtLeast(version, "0.3.0") {
		return fmt.Errorf("there are %d addresses of one family to give, and a result of cniVersion %s has room for one: raise cniVersion to 0.3.0 or more", most, version)
	}
	return nil
}
