package route

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
)

// Kept is a route as the kernel tells it, whole, so that it can be put into
// another table and back. The library's route has neither a nexthop object
// (RTA_NH_ID) nor a router's preference (RTA_PREF), so what is kept is the message,
// attribute by attribute.
type Kept struct {
	Dst             netip.Prefix
	Table, Priority int
	// Protocol says who made it (RTPROT_* of linux/rtnetlink.h).
	Protocol uint8
	// Src is the source address that it prefers, if any.
	Src netip.Addr

	header unix.RtMsg
	attrs  []*nl.RtAttr // less table and metric
	hops   []hop
	object bool // the next hops are an object of their own (ip nexthop)
}

// hop is one next hop of a route.
type hop struct {
	link int
	via  netip.Addr
	raw  []byte // of a route with several: its struct rtnexthop and attributes
}

func (h hop) String() string { return h.via.String() }

// Keep lists the routes by one of the pod's links in all tables but the local one,
// which the kernel keeps by itself. An IPv6 route over several links is listed with
// the link's next hops alone. An IPv4 route over several links cannot be divided,
// and is left out. The list is in an order in which the routes can be Put: those
// without a gateway first, since the others need them, then the rest from the last
// on.
func Keep(k *kernel.Kernel, link int) ([]Kept, error) {
	var out []Kept
	for _, family := range families {
		all, err := list(k, kernel.Pod, family)
		if err != nil {
			return nil, err
		}
		for _, r := range slices.Backward(all) {
			if r, ok := r.of(link); ok && r.Table != unix.RT_TABLE_LOCAL && r.header.Type == unix.RTN_UNICAST {
				out = append(out, r)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Kept) int { return a.rank() - b.rank() })
	return out, nil
}

// attrObject is RTA_NH_ID of linux/rtnetlink.h.
const attrObject = 30

var families = []uint8{unix.AF_INET, unix.AF_INET6}

// list gives every route of a family. A kernel without the family has none.
func list(k *kernel.Kernel, side kernel.Side, family uint8) ([]Kept, error) {
	answers, err := k.Ask(side, unix.RTM_GETROUTE, unix.NLM_F_DUMP, &nl.RtMsg{RtMsg: unix.RtMsg{Family: family}})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var out []Kept
	for _, a := range answers {
		r, err := parse(a)
		if err != nil {
			return nil, err
		}
		if r.header.Family == family && r.header.Flags&unix.RTM_F_CLONED == 0 {
			out = append(out, r)
		}
	}
	return out, nil
}

func parse(answer []byte) (Kept, error) {
	header := nl.DeserializeRtMsg(answer).RtMsg
	attrs, err := kernel.Attrs(answer[unix.SizeofRtMsg:])
	if err != nil {
		return Kept{}, fmt.Errorf("read a route: %w", err)
	}
	r := Kept{header: header, Table: int(header.Table), Protocol: header.Protocol}
	dst := netip.IPv4Unspecified()
	if header.Family == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	var one hop
	for _, a := range attrs {
		kind := a.Attr.Type & nl.NLA_TYPE_MASK
		switch kind {
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(a.Value)
		case unix.RTA_TABLE:
			r.Table = int(kernel.Uint32(a.Value))
			continue
		case unix.RTA_PRIORITY:
			r.Priority = int(kernel.Uint32(a.Value))
			continue
		case unix.RTA_CACHEINFO:
			continue // is told, and cannot be set
		case unix.RTA_PREFSRC:
			r.Src, _ = netip.AddrFromSlice(a.Value)
		case unix.RTA_OIF:
			one.link = int(kernel.Uint32(a.Value))
		case unix.RTA_GATEWAY:
			one.via, _ = netip.AddrFromSlice(a.Value)
		case unix.RTA_MULTIPATH:
			r.hops = multipath(a.Value)
		case attrObject:
			r.object = true
		}
		r.attrs = append(r.attrs, nl.NewRtAttr(int(kind), a.Value))
	}
	if r.hops == nil {
		r.hops = []hop{one}
	}
	r.Dst = netip.PrefixFrom(dst, int(header.Dst_len))
	return r, nil
}

// multipath reads a list of struct rtnexthop.
func multipath(b []byte) (out []hop) {
	for len(b) >= unix.SizeofRtNexthop {
		next := nl.DeserializeRtNexthop(b)
		n := int(next.RtNexthop.Len)
		if n < unix.SizeofRtNexthop || n > len(b) {
			break
		}
		h := hop{link: int(next.Ifindex), raw: b[:n]}
		attrs, _ := kernel.AttrsByKind(b[unix.SizeofRtNexthop:n])
		h.via, _ = netip.AddrFromSlice(attrs[unix.RTA_GATEWAY].Value)
		out = append(out, h)
		b = b[min(len(b), (n+3)&^3):]
	}
	return out
}

// of is the route with a link's next hops alone, if it has any and can be divided.
func (r Kept) of(link int) (Kept, bool) {
	own := r.by(link)
	if len(own) == 0 || len(own) < len(r.hops) && (r.Dst.Addr().Is4() || r.object) {
		return r, false
	}
	r.hops = own
	return r, true
}

// by are the route's next hops on a link.
func (r Kept) by(link int) []hop {
	return slices.DeleteFunc(slices.Clone(r.hops), func(h hop) bool { return h.link != link })
}

// rank orders routes: those without a gateway come first.
func (r Kept) rank() int {
	if len(r.hops) == 1 && !r.hops[0].via.IsValid() {
		return 0
	}
	return 1
}

// WithoutObject is the route with next hops of its own in the place of a nexthop
// object.
func (r Kept) WithoutObject() Kept {
	r.attrs = slices.DeleteFunc(slices.Clone(r.attrs), func(a *nl.RtAttr) bool { return a.Type == attrObject })
	r.object = false
	return r
}

// IsDefault reports whether the route is for everything.
func (r Kept) IsDefault() bool { return r.Dst.Bits() == 0 }

// Put adds the route to a table with a metric, before others to the same
// destination. It is success where the route itself is there.
func (r Kept) Put(k *kernel.Kernel, table, priority int) error {
	err := r.request(k, unix.RTM_NEWROUTE, unix.NLM_F_CREATE, table, priority)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// PutBack is Put for a table that had the route. It is success where the table
// does not take the route any more: its gateway may be out of reach.
func (r Kept) PutBack(k *kernel.Kernel, table, priority int) error {
	err := r.Put(k, table, priority)
	if kernel.IsAny(err, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.EINVAL) {
		return nil
	}
	return err
}

// Remove removes the route from its table. One that is not there is success.
func (r Kept) Remove(k *kernel.Kernel) error {
	return kernel.Gone(r.request(k, unix.RTM_DELROUTE, 0, r.Table, r.Priority))
}

// request is a message about the route in a table and with a metric.
func (r Kept) request(k *kernel.Kernel, kind, flags, table, priority int) error {
	header := &nl.RtMsg{RtMsg: r.header}
	header.Table = unix.RT_TABLE_UNSPEC // the attribute has it
	header.Flags &= unix.RTNH_F_ONLINK  // of the flags only this one is a wish
	attrs := []*nl.RtAttr{kernel.Number(unix.RTA_TABLE, table)}
	if priority != 0 {
		attrs = append(attrs, kernel.Number(unix.RTA_PRIORITY, priority))
	}
	for _, a := range r.attrs {
		switch ofHop := a.Type == unix.RTA_OIF || a.Type == unix.RTA_GATEWAY || a.Type == unix.RTA_VIA || a.Type == unix.RTA_MULTIPATH; {
		case r.object && ofHop: // the object has them
		case a.Type == unix.RTA_MULTIPATH:
			attrs = append(attrs, nl.NewRtAttr(unix.RTA_MULTIPATH, joinHops(r.hops)))
		default:
			attrs = append(attrs, a)
		}
	}
	if err := k.Change(kernel.Pod, kind, flags, header, attrs...); err != nil {
		return fmt.Errorf("route %v table %d: %w", r.Dst, table, err)
	}
	return nil
}

// joinHops is the list of next hops, less the flags that tell their state.
func joinHops(hops []hop) (list []byte) {
	for _, h := range hops {
		raw := slices.Clone(h.raw)
		raw[2] &= unix.RTNH_F_ONLINK
		list = append(append(list, raw...), make([]byte, -len(raw)&3)...)
	}
	return list
}
