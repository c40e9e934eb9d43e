// Package route is the facts about routes.
package route

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/netlink"
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

	protocol byte // who made it, 0 for an administrator
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

// header is struct rtmsg.
func (r Route) header() []byte {
	protocol := r.protocol
	if protocol == 0 {
		protocol = unix.RTPROT_BOOT
	}
	return []byte{family(r.Dst.Addr()), byte(r.Dst.Bits()), 0, 0, tableByte(r.table()), protocol, r.scope(), unix.RTN_UNICAST, 0, 0, 0, 0}
}

func (r Route) table() int {
	if r.Table == 0 {
		return unix.RT_TABLE_MAIN
	}
	return r.Table
}

func (r Route) scope() byte {
	switch {
	case r.Scope != nil:
		return byte(*r.Scope)
	case len(r.Via) == 0 && r.Dst.Addr().Is4():
		return unix.RT_SCOPE_LINK
	}
	return unix.RT_SCOPE_UNIVERSE
}

func family(a netip.Addr) byte {
	if a.Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func (r Route) attributes(link int) []netlink.Attr {
	attrs := []netlink.Attr{
		netlink.Bytes(unix.RTA_DST, r.Dst.Addr().AsSlice()), netlink.U32(unix.RTA_TABLE, uint32(r.table())),
	}
	if r.Priority != 0 {
		attrs = append(attrs, netlink.U32(unix.RTA_PRIORITY, uint32(r.Priority)))
	}
	if r.Src.IsValid() {
		attrs = append(attrs, netlink.Bytes(unix.RTA_PREFSRC, r.Src.AsSlice()))
	}
	var metrics []netlink.Attr
	if r.MTU != 0 {
		metrics = append(metrics, netlink.U32(unix.RTAX_MTU, uint32(r.MTU)))
	}
	if r.AdvMSS != 0 {
		metrics = append(metrics, netlink.U32(unix.RTAX_ADVMSS, uint32(r.AdvMSS)))
	}
	if metrics != nil {
		attrs = append(attrs, netlink.Nest(unix.RTA_METRICS, metrics...))
	}
	return append(attrs, r.hops(link)...)
}

// hops are the next hops: one among the route's own attributes, several in a
// list of their own.
func (r Route) hops(link int) []netlink.Attr {
	if len(r.Via) < 2 {
		attrs := []netlink.Attr{netlink.U32(unix.RTA_OIF, uint32(link))}
		for _, via := range r.Via {
			attrs = append(attrs, netlink.Bytes(unix.RTA_GATEWAY, via.AsSlice()))
		}
		return attrs
	}
	var list []byte
	for _, via := range r.Via {
		gateway := netlink.Bytes(unix.RTA_GATEWAY, via.AsSlice())
		hop := make([]byte, unix.SizeofRtNexthop) // length, flags, hops, link
		binary.NativeEndian.PutUint16(hop, uint16(len(hop)+len(gateway)))
		if r.OnLink {
			hop[2] = unix.RTNH_F_ONLINK
		}
		binary.NativeEndian.PutUint32(hop[4:], uint32(link))
		list = append(append(list, hop...), gateway...)
	}
	return []netlink.Attr{netlink.Bytes(unix.RTA_MULTIPATH, list)}
}

// Add adds the route; one that is there already is an error. In a pod another
// one to the same destination may be there, as another network's default route,
// or the kernel's to a subnet that is to go by a gateway: of IPv4 the last one
// comes first, and IPv6 takes both for the paths of one. sbr and vrf bring
// networks apart.
func (r Route) Add(k *kernel.Kernel) error {
	flags := uint16(unix.NLM_F_CREATE | unix.NLM_F_EXCL)
	if r.Side == kernel.Pod {
		flags = unix.NLM_F_CREATE
	}
	err := r.send(k, unix.RTM_NEWROUTE, flags)
	if errors.Is(err, unix.ENETUNREACH) && len(r.Via) > 0 {
		return fmt.Errorf("no address of %s has the next hop on its subnet: %w", r.Link, err)
	}
	return err
}

// IsLinkLocal reports whether a next hop is on the link without an address of the
// link's that says so. Of IPv4 none is: nothing makes 169.254.0.0/16 a subnet of
// a link.
func IsLinkLocal(via netip.Addr) bool { return via.Is6() && via.IsLinkLocalUnicast() }

// send is a message about the route.
func (r Route) send(k *kernel.Kernel, kind, flags uint16) error {
	l, err := k.Link(r.Side, r.Link)
	if err != nil {
		return err
	}
	c, err := k.Conn(r.Side)
	if err != nil {
		return err
	}
	h := r.header()
	if r.OnLink && len(r.Via) == 1 {
		h[8] = unix.RTNH_F_ONLINK
	}
	_, err = c.Request(netlink.Message{Type: kind, Flags: flags, Body: append(h, netlink.Join(r.attributes(l.Index)...)...)})
	return err
}

// Remove takes the route away while its link stays. One that is not there is
// success.
func (r Route) Remove(k *kernel.Kernel) error {
	if err := r.send(k, unix.RTM_DELROUTE, 0); !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}

// Del does nothing: see Route.
func (r Route) Del(*kernel.Kernel) error { return nil }

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

// compare wants every next hop of ours; a route by hand to the same
// destination beside it is nobody's fault.
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

// Lookup asks a side's routing table for the way to an address.
func Lookup(k *kernel.Kernel, side kernel.Side, to netip.Addr) (Out, error) {
	c, err := k.Conn(side)
	if err != nil {
		return Out{}, err
	}
	header := []byte{family(to), byte(to.BitLen()), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	answers, err := c.Request(netlink.Message{Type: unix.RTM_GETROUTE, Body: append(header, netlink.Bytes(unix.RTA_DST, to.AsSlice())...)})
	if err != nil {
		return Out{}, fmt.Errorf("route to %v: %w", to, err)
	}
	if len(answers) == 0 || len(answers[0]) < unix.SizeofRtMsg {
		return Out{}, fmt.Errorf("no route to %v: %w", to, fs.ErrNotExist)
	}
	kind := answers[0][7]
	l, err := k.LinkAt(side, int(netlink.Uint32(netlink.Find(answers[0][unix.SizeofRtMsg:], unix.RTA_OIF))))
	if err != nil {
		return Out{}, fmt.Errorf("route to %v: %w", to, err)
	}
	return Out{Link: l.Name, MTU: l.MTU, Local: kind == unix.RTN_LOCAL}, nil
}

// Addresses of the documentation (RFC 5737, RFC 3849), which no network has:
// the way to them is the default route.
var outside = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}

// HasDefault reports whether a side has a default route of a family.
func HasDefault(k *kernel.Kernel, side kernel.Side, six bool) (bool, error) {
	to := outside[0]
	if six {
		to = outside[1]
	}
	_, err := Lookup(k, side, to)
	if nowhere(err) {
		return false, nil
	}
	return err == nil, err
}

func nowhere(err error) bool {
	return errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, fs.ErrNotExist)
}

// Default is the way that the side's default route goes, of IPv4 or else of
// IPv6. The kernel picks it by metric, as it does for packets.
func Default(k *kernel.Kernel, side kernel.Side) (Out, error) {
	var errs []error
	for _, to := range outside {
		out, err := Lookup(k, side, to)
		if err == nil {
			return out, nil
		}
		if !nowhere(err) {
			errs = append(errs, err)
		}
	}
	if errs == nil {
		return Out{}, fmt.Errorf("the %v has no default route: %w", side, unix.ENETUNREACH)
	}
	return Out{}, errors.Join(errs...)
}
