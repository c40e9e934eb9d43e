package route

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/lists"
	"github.com/catena-cni/catena/internal/netlink"
)

// Kept is a route as the kernel tells it, with everything that it is made of,
// so that it can be put into another table and back.
type Kept struct {
	Dst             netip.Prefix
	Table, Priority int
	// Protocol says who made it (RTPROT_* of linux/rtnetlink.h).
	Protocol byte
	// Src is the source address that it prefers, if any.
	Src netip.Addr

	header []byte
	attrs  []netlink.Attr // less table and metric
	hops   []hop
	object bool // the next hops are an object of their own (ip nexthop)
}

// hop is one way that a route goes.
type hop struct {
	link int
	via  netip.Addr
	raw  []byte // of a route with several: its struct rtnexthop and attributes
}

func (h hop) String() string { return h.via.String() }

// Keep lists a link's routes in all tables but the local one, which the kernel
// keeps by itself. Of an IPv6 route that goes by several links the link's part is
// listed. An IPv4 route of that kind is one piece and nobody's part, and so is
// left out. The order is one in which they can be Put: those without a gateway
// come first, as the others stand on them, and of the rest the last.
func Keep(k *kernel.Kernel, side kernel.Side, link int) ([]Kept, error) {
	var out []Kept
	for _, family := range families {
		all, err := list(k, side, family)
		if err != nil {
			return nil, err
		}
		for _, r := range slices.Backward(all) {
			if r, ok := r.of(link); ok && r.Table != unix.RT_TABLE_LOCAL && r.header[7] == unix.RTN_UNICAST {
				out = append(out, r)
			}
		}
	}
	lists.Stable(out, func(a, b Kept) int { return a.rank() - b.rank() })
	return out, nil
}

// attrObject is RTA_NH_ID of linux/rtnetlink.h.
const attrObject = 30

var families = []byte{unix.AF_INET, unix.AF_INET6}

// list gives every route of a family. A kernel without the family has none.
func list(k *kernel.Kernel, side kernel.Side, family byte) ([]Kept, error) {
	c, err := k.Conn(side)
	if err != nil {
		return nil, err
	}
	answers, err := c.Dump(netlink.Message{Type: unix.RTM_GETROUTE, Body: append([]byte{family}, make([]byte, unix.SizeofRtMsg-1)...)})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var out []Kept
	for _, a := range answers {
		if len(a) >= unix.SizeofRtMsg && a[0] == family && binary.NativeEndian.Uint32(a[8:])&unix.RTM_F_CLONED == 0 {
			out = append(out, parse(a))
		}
	}
	return out, nil
}

func parse(b []byte) Kept {
	r := Kept{header: b[:unix.SizeofRtMsg], Table: int(b[4]), Protocol: b[5]}
	dst := netip.IPv4Unspecified()
	if b[0] == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	var one hop
	for kind, data := range netlink.Attrs(b[unix.SizeofRtMsg:]) {
		switch kind {
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(data)
		case unix.RTA_TABLE:
			r.Table = int(netlink.Uint32(data))
			continue
		case unix.RTA_PRIORITY:
			r.Priority = int(netlink.Uint32(data))
			continue
		case unix.RTA_CACHEINFO:
			continue // is told, and cannot be set
		case unix.RTA_PREFSRC:
			r.Src, _ = netip.AddrFromSlice(data)
		case unix.RTA_OIF:
			one.link = int(netlink.Uint32(data))
		case unix.RTA_GATEWAY:
			one.via, _ = netip.AddrFromSlice(data)
		case unix.RTA_MULTIPATH:
			r.hops = multipath(data)
		case attrObject:
			r.object = true
		}
		r.attrs = append(r.attrs, netlink.Bytes(kind, data))
	}
	if r.hops == nil {
		r.hops = []hop{one}
	}
	r.Dst = netip.PrefixFrom(dst, int(b[1]))
	return r
}

// multipath reads a list of struct rtnexthop.
func multipath(b []byte) (out []hop) {
	for len(b) >= unix.SizeofRtNexthop {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtNexthop || n > len(b) {
			break
		}
		via, _ := netip.AddrFromSlice(netlink.Find(b[unix.SizeofRtNexthop:n], unix.RTA_GATEWAY))
		out = append(out, hop{int(binary.NativeEndian.Uint32(b[4:])), via, b[:n]})
		b = b[min(len(b), (n+3)&^3):]
	}
	return out
}

// of is what of the route goes by a link.
func (r Kept) of(link int) (Kept, bool) {
	own := r.by(link)
	if len(own) == 0 || len(own) < len(r.hops) && (r.Dst.Addr().Is4() || r.object) {
		return r, false
	}
	r.hops = own
	return r, true
}

// by are the ways of the route that go by a link.
func (r Kept) by(link int) []hop {
	return lists.Without(r.hops, func(h hop) bool { return h.link != link })
}

// rank orders routes by what they stand on.
func (r Kept) rank() int {
	if len(r.hops) == 1 && !r.hops[0].via.IsValid() {
		return 0
	}
	return 1
}

// WithoutObject is the route with next hops of its own, where it has an object
// for them.
func (r Kept) WithoutObject() Kept {
	r.attrs = lists.Without(r.attrs, func(a netlink.Attr) bool { return binary.NativeEndian.Uint16(a[2:]) == attrObject })
	r.object = false
	return r
}

// IsDefault reports whether the route is for everything.
func (r Kept) IsDefault() bool { return r.Dst.Bits() == 0 }

// Put adds the route to a table with a metric, before those to the same
// destination that are there. One that is there itself is os.ErrExist.
func (r Kept) Put(k *kernel.Kernel, side kernel.Side, table, priority int) error {
	return r.send(k, side, unix.RTM_NEWROUTE, unix.NLM_F_CREATE, table, priority)
}

// PutBack is Put for a table of the pod that had the route. What the table does
// not take any more, as where the route has come there again or its gateway is
// out of reach, is left out.
func (r Kept) PutBack(k *kernel.Kernel, table, priority int) error {
	err := r.Put(k, kernel.Pod, table, priority)
	if among(err, []error{fs.ErrExist, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.EINVAL}) {
		return nil
	}
	return err
}

// Remove removes the route from its table. One that is not there is success.
func (r Kept) Remove(k *kernel.Kernel, side kernel.Side) error {
	err := r.send(k, side, unix.RTM_DELROUTE, 0, r.Table, r.Priority)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (r Kept) send(k *kernel.Kernel, side kernel.Side, kind, flags uint16, table, priority int) error {
	c, err := k.Conn(side)
	if err != nil {
		return err
	}
	header := slices.Clone(r.header)
	header[4] = tableByte(table)
	// Of its flags only this one is a wish.
	binary.NativeEndian.PutUint32(header[8:], binary.NativeEndian.Uint32(header[8:])&unix.RTNH_F_ONLINK)
	body := append(header, netlink.Join(r.attributes(table, priority)...)...)
	if _, err := c.Request(netlink.Message{Type: kind, Flags: flags, Body: body}); err != nil {
		return fmt.Errorf("route %v table %d: %w", r.Dst, table, err)
	}
	return nil
}

func (r Kept) attributes(table, priority int) []netlink.Attr {
	attrs := []netlink.Attr{netlink.U32(unix.RTA_TABLE, uint32(table))}
	if priority != 0 {
		attrs = append(attrs, netlink.U32(unix.RTA_PRIORITY, uint32(priority)))
	}
	for _, a := range r.attrs {
		switch kind := binary.NativeEndian.Uint16(a[2:]); {
		case kind == unix.RTA_MULTIPATH && !r.object:
			attrs = append(attrs, netlink.Bytes(unix.RTA_MULTIPATH, joinHops(r.hops)))
		case r.object && (kind == unix.RTA_OIF || kind == unix.RTA_GATEWAY || kind == unix.RTA_VIA || kind == unix.RTA_MULTIPATH):
			// The object has them.
		default:
			attrs = append(attrs, a)
		}
	}
	return attrs
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

// tableByte is a table in the header of a message, where an attribute has those
// that do not fit.
func tableByte(table int) byte {
	if table > 255 {
		return unix.RT_TABLE_UNSPEC
	}
	return byte(table)
}
