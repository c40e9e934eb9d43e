// Package route is the facts about routes.
package route

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kernel"
)

// Route sends what is for Dst out of Link. It dies with the link.
type Route struct {
	Side kernel.Side
	Link string
	Dst  netip.Prefix
	// Via lists the next hops: none for what is on the link itself, several
	// for a route with several equal paths.
	Via []netip.Addr
	// OnLink takes the next hops to be on the link although no address of the
	// link says so.
	OnLink bool
	// Src is the source address that the host prefers; zero leaves it to it.
	Src netip.Addr
	// Table is the routing table, 0 for the main one; Priority the metric, 0
	// for the kernel's default.
	Table, Priority int
	// Scope is the kernel's number, nil for what follows from Via.
	Scope *int
	// MTU and AdvMSS are metrics of the route in bytes, 0 for none.
	MTU, AdvMSS int
}

func (r Route) String() string {
	words := []string{fmt.Sprintf("route %v %v dev %s", r.Side, r.Dst, r.Link)}
	for _, via := range r.Via {
		words = append(words, "via "+via.String())
	}
	add := func(there bool, format string, v any) {
		if there {
			words = append(words, fmt.Sprintf(format, v))
		}
	}
	if r.OnLink {
		words = append(words, "onlink")
	}
	add(r.Src.IsValid(), "src %v", r.Src)
	add(r.Table != 0, "table %d", r.Table)
	add(r.Priority != 0, "metric %d", r.Priority)
	if r.Scope != nil {
		words = append(words, fmt.Sprintf("scope %d", *r.Scope))
	}
	add(r.MTU != 0, "mtu %d", r.MTU)
	add(r.AdvMSS != 0, "advmss %d", r.AdvMSS)
	return strings.Join(words, " ")
}

func (r Route) wire(k *kernel.Kernel) (*netlink.Route, error) {
	l, err := k.Link(r.Side, r.Link)
	if err != nil {
		return nil, err
	}
	dst := cni.IPNet(r.Dst)
	w := &netlink.Route{
		LinkIndex: l.Attrs().Index, Dst: &dst, Table: r.Table, Priority: r.Priority,
		MTU: r.MTU, AdvMSS: r.AdvMSS, Protocol: unix.RTPROT_BOOT, Scope: r.scope(),
	}
	if r.Src.IsValid() {
		w.Src = r.Src.AsSlice()
	}
	var flags int
	if r.OnLink {
		flags = int(netlink.FLAG_ONLINK)
	}
	switch len(r.Via) {
	case 0:
	case 1:
		w.Gw, w.Flags = r.Via[0].AsSlice(), flags
	default:
		for _, via := range r.Via {
			w.MultiPath = append(w.MultiPath, &netlink.NexthopInfo{LinkIndex: w.LinkIndex, Gw: via.AsSlice(), Flags: flags})
		}
		w.LinkIndex = 0
	}
	return w, nil
}

func (r Route) scope() netlink.Scope {
	switch {
	case r.Scope != nil:
		return netlink.Scope(*r.Scope)
	case len(r.Via) == 0 && r.Dst.Addr().Is4():
		return netlink.SCOPE_LINK
	}
	return netlink.SCOPE_UNIVERSE
}

// Add adds the route; one that is there already is an error.
func (r Route) Add(k *kernel.Kernel) error {
	w, err := r.wire(k)
	if err != nil {
		return err
	}
	h, err := k.NL(r.Side)
	if err != nil {
		return err
	}
	return explain(h.RouteAdd(w), r)
}

// explain says what the kernel means by its short answer.
func explain(err error, r Route) error {
	if errors.Is(err, unix.ENETUNREACH) && len(r.Via) > 0 {
		return fmt.Errorf("no address of %s has the next hop on its subnet: %w", r.Link, err)
	}
	return err
}

// Del does nothing: see Route.
func (r Route) Del(*kernel.Kernel) error { return nil }

// Check looks for the route by table, destination and link, and compares the
// next hops.
func (r Route) Check(k *kernel.Kernel) error {
	w, err := r.wire(k)
	if err != nil {
		return err
	}
	h, err := k.NL(r.Side)
	if err != nil {
		return err
	}
	if w.Table == 0 {
		w.Table = unix.RT_TABLE_MAIN
	}
	l, err := k.Link(r.Side, r.Link)
	if err != nil {
		return err
	}
	have, err := h.RouteListFiltered(family(r.Dst), w, netlink.RT_FILTER_DST|netlink.RT_FILTER_TABLE)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	var hops []netip.Addr
	var found bool
	for _, route := range have {
		for _, hop := range nexthops(route) {
			if hop.LinkIndex == l.Attrs().Index {
				found = true
				hops = append(hops, cni.Address(hop.Gw))
			}
		}
	}
	if !found {
		return fmt.Errorf("it is not there: %w", fs.ErrNotExist)
	}
	return r.compare(hops)
}

// compare wants every next hop of ours; a route by hand to the same
// destination beside it is nobody's fault.
func (r Route) compare(hops []netip.Addr) error {
	want := r.Via
	if len(want) == 0 {
		want = []netip.Addr{{}}
	}
	for _, via := range want {
		var there bool
		for _, hop := range hops {
			there = there || hop == via
		}
		if !there {
			return fmt.Errorf("it goes by way of %v", hops)
		}
	}
	return nil
}

func nexthops(r netlink.Route) []*netlink.NexthopInfo {
	if len(r.MultiPath) > 0 {
		return r.MultiPath
	}
	return []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw}}
}

func family(p netip.Prefix) int {
	if p.Addr().Is6() {
		return netlink.FAMILY_V6
	}
	return netlink.FAMILY_V4
}

// Out is the host's way to an address.
type Out struct {
	Link  string
	MTU   int
	Local bool // the address is the host's own
}

// Lookup asks the host's routing table for the way to an address.
func Lookup(k *kernel.Kernel, to netip.Addr) (Out, error) {
	h, err := k.NL(kernel.Host)
	if err != nil {
		return Out{}, err
	}
	routes, err := h.RouteGet(net.IP(to.AsSlice()))
	if err != nil {
		return Out{}, fmt.Errorf("route to %v: %w", to, kernel.Cause(err))
	}
	if len(routes) == 0 {
		return Out{}, fmt.Errorf("route to %v: %w", to, fs.ErrNotExist)
	}
	l, err := h.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return Out{}, fmt.Errorf("route to %v: %w", to, kernel.Cause(err))
	}
	return Out{Link: l.Attrs().Name, MTU: l.Attrs().MTU, Local: routes[0].Type == unix.RTN_LOCAL}, nil
}

// Addresses of the documentation (RFC 5737, RFC 3849), which no network has:
// the way to them is the default route.
var outside = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}

// DefaultMTU is the MTU in bytes of the interface that the default route of
// IPv4, or else of IPv6, goes out by.
func DefaultMTU(k *kernel.Kernel) (int, error) {
	var errs []error
	for _, to := range outside {
		out, err := Lookup(k, to)
		if err == nil {
			return out.MTU, nil
		}
		errs = append(errs, err)
	}
	return 0, fmt.Errorf("the host has no default route to take the MTU of: %w", errors.Join(errs...))
}
