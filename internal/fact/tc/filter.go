package tc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/netlink"
)

// priority orders the filters of one place: the lowest comes first. One of the
// kernel's holds packets of one protocol.
type priority uint16

// At the hook for what a link receives, others may be: eBPF programs that
// enforce policies sit there at low priorities. They have to come first, since
// what returns from the IFB does not pass the hook again. Ours come last, also
// behind those that tc(8) numbers itself, from 49152 down.
const (
	bandsPriority    priority = 1
	exemptPriority   priority = 60001 // and 60002, for IPv6
	redirectPriority priority = 60003
	// upstreams is the priority of upstream's filter.
	upstreams priority = 1
)

// filter is what the kernel says of a u32 filter (tc-u32(8)).
type filter struct {
	handle   uint32
	priority priority
	protocol uint16
	kind     string
	class    Handle
	keys     []byte // struct tc_u32_key, each
	redirect bool
	to       int // number of the link that packets are redirected to, 0 for none that is left
}

func info(p priority, protocol uint16) uint32 {
	return uint32(p)<<16 | uint32(protocol<<8|protocol>>8)
}

// Attributes of filters and actions (linux/pkt_cls.h, linux/tc_act/tc_mirred.h).
const (
	u32Class   = 1 // TCA_U32_CLASSID
	u32Sel     = 5 // TCA_U32_SEL
	u32Actions = 7 // TCA_U32_ACT

	actKind    = 1 // TCA_ACT_KIND
	actOptions = 2 // TCA_ACT_OPTIONS

	mirredParms = 2  // TCA_MIRRED_PARMS
	mirredSize  = 28 // struct tc_mirred, and places in it
	mirredThen  = 8
	mirredHow   = 20
	mirredTo    = 24

	actStolen      = 4 // TC_ACT_STOLEN
	egressRedirect = 1 // TCA_EGRESS_REDIR

	selSize = 16 // struct tc_u32_sel
	keySize = 16 // struct tc_u32_key

	nodeMask = 0xfff // TC_U32_NODE: the part of a handle that a table has not
)

// anyPacket is the key that every packet has.
func anyPacket() []byte { return make([]byte, keySize) }

// prefixKeys match an address in the header of an IPv4 or IPv6 packet.
func prefixKeys(p netip.Prefix, end End) (keys []byte) {
	at := map[bool][2]int{true: {12, 16}, false: {8, 24}}[p.Addr().Is4()][end]
	address := p.Masked().Addr().AsSlice()
	for word := 0; word < len(address) && (word == 0 || word*8 < p.Bits()); word += 4 {
		bits := min(max(p.Bits()-word*8, 0), 32)
		key := binary.BigEndian.AppendUint32(nil, uint32(0xffffffff<<(32-bits)))
		key = append(key, address[word:word+4]...)
		key = binary.NativeEndian.AppendUint32(key, uint32(at+word))
		keys = append(keys, binary.NativeEndian.AppendUint32(key, 0)...)
	}
	return keys
}

// match adds a filter below a parent, in a message of its own.
func (t target) match(parent Handle, p priority, protocol uint16, keys []byte, attrs ...netlink.Attr) error {
	c, err := t.k.Conn(t.side)
	if err != nil {
		return err
	}
	const terminal, flags, nkeys = 1, 0, 2 // in struct tc_u32_sel
	sel := make([]byte, selSize)
	sel[flags], sel[nkeys] = terminal, uint8(len(keys)/keySize)
	attrs = append(attrs, netlink.Bytes(u32Sel, append(sel, keys...)))
	body := append(header(t.link, 0, parent, info(p, protocol)), netlink.Join(
		netlink.String(unix.TCA_KIND, "u32"), netlink.Nest(unix.TCA_OPTIONS, attrs...))...)
	_, err = c.Request(netlink.Message{Type: unix.RTM_NEWTFILTER, Flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL, Body: body})
	switch {
	case errors.Is(err, unix.ENOENT):
		if lack := has(t.k, t.side, "mirred"); lack != nil {
			return lack
		}
		return lacks("u32", err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSPC):
		return t.held(parent, p, protocol, err)
	}
	return kernel.Cause(err)
}

// held tells what the kernel refuses a filter for: one priority has filters of
// one kind and protocol.
func (t target) held(parent Handle, p priority, protocol uint16, cause error) error {
	all, err := t.filters(parent)
	for _, f := range all {
		if err == nil && f.priority == p && (f.kind != "u32" || f.protocol != protocol) {
			err := cni.Taken("%s has a filter of priority %d already, of the kind %s", t.link.Name, p, f.kind)
			return cni.Hint(err, "give the other program's filter another priority (tc filter show dev "+t.link.Name+" ingress)")
		}
	}
	return kernel.Cause(cause)
}

// unmatch removes the u32 filters below a parent that are one's own. As another
// program may have its filters in the same priority, that goes as a whole only
// where it has no others.
func (t target) unmatch(parent Handle, own func(filter) bool) error {
	all, err := t.filters(parent)
	if err != nil {
		return gone(err)
	}
	shared := map[priority]bool{}
	for _, f := range all {
		shared[f.priority] = shared[f.priority] || !own(f)
	}
	var errs []error
	for _, f := range all {
		if !own(f) {
			continue
		}
		if !shared[f.priority] {
			f.handle = 0
		}
		errs = append(errs, t.drop(parent, f))
	}
	return errors.Join(errs...)
}

// drop removes a u32 filter or, without a handle, its priority.
func (t target) drop(parent Handle, f filter) error {
	c, err := t.k.Conn(t.side)
	if err != nil {
		return err
	}
	body := append(header(t.link, Handle(f.handle), parent, info(f.priority, f.protocol)), netlink.String(unix.TCA_KIND, "u32")...)
	_, err = c.Request(netlink.Message{Type: unix.RTM_DELTFILTER, Body: body})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return gone(kernel.Cause(err))
}

// filters lists those below a parent, without the tables that u32 keeps them in.
func (t target) filters(parent Handle) ([]filter, error) {
	c, err := t.k.Conn(t.side)
	if err != nil {
		return nil, err
	}
	answers, err := c.Dump(netlink.Message{Type: unix.RTM_GETTFILTER, Body: header(t.link, 0, parent, 0)})
	if err != nil {
		return nil, fmt.Errorf("list the filters of %s: %w", t.link.Name, err)
	}
	var out []filter
	for _, a := range answers {
		if len(a) < headerSize {
			continue
		}
		if f := parseFilter(a); f.kind != "u32" || f.handle&nodeMask != 0 {
			out = append(out, f)
		}
	}
	return out, nil
}

func parseFilter(b []byte) (f filter) {
	f.handle = binary.NativeEndian.Uint32(b[8:])
	info := binary.NativeEndian.Uint32(b[16:])
	f.priority, f.protocol = priority(info>>16), uint16(info)<<8|uint16(info)>>8
	f.kind = netlink.Text(netlink.Find(b[headerSize:], unix.TCA_KIND))
	options := netlink.Find(b[headerSize:], unix.TCA_OPTIONS)
	if f.kind != "u32" {
		return f
	}
	f.class = Handle(netlink.Uint32(netlink.Find(options, u32Class)))
	if sel := netlink.Find(options, u32Sel); len(sel) >= selSize {
		f.keys = sel[selSize:]
	}
	for _, action := range netlink.Attrs(netlink.Find(options, u32Actions)) {
		parms := netlink.Find(netlink.Find(action, actOptions), mirredParms)
		if netlink.Text(netlink.Find(action, actKind)) == "mirred" && len(parms) >= mirredSize &&
			netlink.Uint32(parms[mirredHow:]) == egressRedirect {
			// Upstream's filter has the action twice: the first takes the packet.
			f.redirect, f.to = true, int(netlink.Uint32(parms[mirredTo:]))
			break
		}
	}
	return f
}

// families are the protocols that addresses are matched in. The filters of each
// have a priority of their own.
var families = []struct {
	protocol uint16
	four     bool
}{{unix.ETH_P_IP, true}, {unix.ETH_P_IPV6, false}}

// exempt adds a filter for each subnet, from a priority on.
func (t target) exempt(parent Handle, first priority, class Handle, end End, subnets []netip.Prefix) error {
	for n, family := range families {
		for _, p := range subnets {
			if p.Addr().Is4() != family.four {
				continue
			}
			if err := t.match(parent, first+priority(n), family.protocol, prefixKeys(p, end), netlink.U32(u32Class, uint32(class))); err != nil {
				return fmt.Errorf("%v: %w", p, err)
			}
		}
	}
	return nil
}

// exempts looks for those filters.
func (t target) exempts(parent Handle, first priority, end End, subnets []netip.Prefix) error {
	have, err := t.filters(parent)
	if err != nil {
		return err
	}
	for _, p := range subnets {
		at := first
		if p.Addr().Is6() {
			at++
		}
		keys := prefixKeys(p, end)
		if !slices.ContainsFunc(have, func(f filter) bool { return f.priority == at && slices.Equal(f.keys, keys) }) {
			return fmt.Errorf("%s has no filter for %v", t.link.Name, p)
		}
	}
	return nil
}
