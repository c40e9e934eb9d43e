// Package route is the facts about routes.
package route

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// Route sends what is for Dst out of Link. It dies with the link.
type Route struct {
	fact.Stays
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

	protocol netlink.RouteProtocol // who made it, 0 for an administrator
}

func (r Route) String() string {
	return fact.Text(fmt.Sprintf("route %v %v dev %s", r.Side, r.Dst, r.Link), fact.Words("via", r.Via), fact.Word("onlink", r.OnLink),
		fact.Word("src", r.Src), fact.Word("table", r.Table), fact.Word("metric", r.Priority), fact.Word("scope", r.Scope),
		fact.Word("mtu", r.MTU), fact.Word("advmss", r.AdvMSS))
}

// typed is the route as the library has it.
func (r Route) typed(link int) *netlink.Route {
	dst := cni.IPNet(r.Dst)
	out := &netlink.Route{
		Dst: &dst, LinkIndex: link, Src: r.Src.AsSlice(), Table: r.Table, Priority: r.Priority,
		Scope: r.scope(), MTU: r.MTU, AdvMSS: r.AdvMSS, Protocol: r.protocol,
	}
	if r.OnLink && len(r.Via) == 1 {
		out.Flags = int(netlink.FLAG_ONLINK)
	}
	switch {
	case len(r.Via) == 1:
		out.Gw = r.Via[0].AsSlice()
	case len(r.Via) > 1:
		out.LinkIndex = 0 // each of them has its own
		for _, via := range r.Via {
			hop := &netlink.NexthopInfo{LinkIndex: link, Gw: via.AsSlice()}
			if r.OnLink {
				hop.Flags = int(netlink.FLAG_ONLINK)
			}
			out.MultiPath = append(out.MultiPath, hop)
		}
	}
	return out
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

func family(a netip.Addr) uint8 {
	if a.Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// Add adds the route; one that is there already is an error. In a pod, another
// route to the same destination may be there: another network's default route, or
// the kernel's own to a subnet that is to be reached by a gateway. IPv4 then uses
// the newest, and IPv6 takes both as paths of one route. sbr and vrf keep networks
// apart.
func (r Route) Add(k *kernel.Kernel) error {
	add := (*netlink.Handle).RouteAdd
	if r.Side == kernel.Pod {
		add = (*netlink.Handle).RouteAddEcmp // which is for any that is not the only one
	}
	err := r.change(k, add)
	if errors.Is(err, unix.ENETUNREACH) && len(r.Via) > 0 {
		return fmt.Errorf("no address of %s has the next hop on its subnet: %w", r.Link, err)
	}
	return err
}

// IsLinkLocal reports whether a next hop is on the link although no address of the
// link has it on its subnet. No IPv4 address is: 169.254.0.0/16 is not a subnet of
// every link.
func IsLinkLocal(via netip.Addr) bool { return via.Is6() && via.IsLinkLocalUnicast() }

// change makes a call of the library's about the route.
func (r Route) change(k *kernel.Kernel, call func(*netlink.Handle, *netlink.Route) error) error {
	l, err := k.Link(r.Side, r.Link)
	if err != nil {
		return err
	}
	return k.Call(r.Side, func(h *netlink.Handle) error { return call(h, r.typed(l.Index)) })
}

// Remove takes the route away while its link stays. One that is not there is
// success.
func (r Route) Remove(k *kernel.Kernel) error {
	return kernel.Gone(r.change(k, (*netlink.Handle).RouteDel))
}

// Check looks for the route by destination, table and link, and compares the
// next hops.
func (r Route) Check(k *kernel.Kernel) error {
	l, err := k.Link(r.Side, r.Link)
	if err != nil {
		return err
	}
	all, err := list(k, r.Side, family(r.Dst.Addr()))
	if err != nil {
		return err
	}
	var hops []hop
	for _, have := range all {
		if r.matches(have) {
			hops = append(hops, have.by(l.Index)...)
		}
	}
	if hops == nil {
		return fmt.Errorf("it is not there: %w", fs.ErrNotExist)
	}
	return r.compare(hops)
}

// matches reports whether a route is to the same destination in the same table.
// From the main table a plugin further on in the chain may have moved it.
func (r Route) matches(have Kept) bool {
	return have.Dst == r.Dst && (r.Table == 0 || have.Table == r.Table) && (r.Priority == 0 || have.Priority == r.Priority)
}

// compare wants every next hop of ours. Other routes to the same destination do not
// matter.
func (r Route) compare(hops []hop) error {
	want := r.Via
	if len(want) == 0 {
		want = []netip.Addr{{}}
	}
	for _, via := range want {
		var there bool
		for _, hop := range hops {
			there = there || hop.via == via
		}
		if !there {
			return fmt.Errorf("it goes by way of %v", hops)
		}
	}
	return nil
}

// Out is the way to an address.
type Out struct {
	Link  string
	MTU   int
	Local bool // the address is one's own
}

// Lookup asks a side's routing table for the way to an address. It asks by hand:
// the library sets RTM_F_LOOKUP_TABLE, which IPv6 refuses where it checks strictly.
func Lookup(k *kernel.Kernel, side kernel.Side, to netip.Addr) (Out, error) {
	header := &nl.RtMsg{RtMsg: unix.RtMsg{Family: family(to), Dst_len: uint8(to.BitLen())}}
	answers, err := k.Ask(side, unix.RTM_GETROUTE, 0, header, kernel.Attr(unix.RTA_DST, to.AsSlice()))
	if err == nil && len(answers) == 0 {
		err = fs.ErrNotExist
	}
	if err != nil {
		return Out{}, fmt.Errorf("route to %v: %w", to, err)
	}
	found, err := parse(answers[0])
	if err != nil {
		return Out{}, err
	}
	l, err := k.LinkAt(side, found.hops[0].link)
	if err != nil {
		return Out{}, fmt.Errorf("route to %v: %w", to, err)
	}
	return Out{Link: l.Name, MTU: l.MTU, Local: found.header.Type == unix.RTN_LOCAL}, nil
}

// Addresses of the documentation (RFC 5737, RFC 3849), which no network has:
// the way to them is the default route.
var outside = map[bool]netip.Addr{false: netip.MustParseAddr("192.0.2.1"), true: netip.MustParseAddr("2001:db8::1")}

// HasDefault reports whether a side has a default route of a family.
func HasDefault(k *kernel.Kernel, side kernel.Side, six bool) (bool, error) {
	_, err := Lookup(k, side, outside[six])
	if nowhere(err) {
		return false, nil
	}
	return err == nil, err
}

// nowhere reports whether there is no way: no route, or one of the types
// unreachable, prohibit or blackhole (net/ipv4/fib_semantics.c, fib_props).
func nowhere(err error) bool {
	return kernel.IsAny(err, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL, fs.ErrNotExist)
}

// HostLink is the host's link on the way to an address, "" where there is none.
func HostLink(k *kernel.Kernel, to netip.Addr) (string, error) {
	out, err := Lookup(k, kernel.Host, to)
	if nowhere(err) {
		return "", nil
	}
	return out.Link, err
}

// Default is the way that the side's default route goes, of IPv4 or else of
// IPv6. The kernel picks it by metric, as it does for packets.
func Default(k *kernel.Kernel, side kernel.Side) (Out, error) {
	out, err := Lookup(k, side, outside[false])
	if nowhere(err) {
		out, err = Lookup(k, side, outside[true])
	}
	if nowhere(err) {
		err = fmt.Errorf("the %v has no default route: %w", side, unix.ENETUNREACH)
	}
	return out, err
}
