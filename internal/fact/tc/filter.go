package tc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// Priorities order the filters below one parent: the lowest comes first. The
// filters of one priority are for one protocol.
//
// Other programs have filters at the hook for what a link receives: eBPF programs
// that enforce policies, at low priorities. They must come first, since packets
// that return from the IFB do not pass the hook again. Ours come last, also after
// those that tc(8) numbers itself, from 49152 down.
const (
	bandsPriority    = 1     // and 2, for IPv6
	exemptPriority   = 60001 // and 60002, for IPv6
	redirectPriority = 60003
	upstreamPriority = 1
)

// prefixKeys match an address in the header of an IPv4 or IPv6 packet (tc-u32(8)).
func prefixKeys(p netip.Prefix, end End) (keys []netlink.TcU32Key) {
	offset := map[bool][2]int32{true: {12, 16}, false: {8, 24}}[p.Addr().Is4()][end]
	address := p.Masked().Addr().AsSlice()
	for word := 0; word < len(address) && (word == 0 || word*8 < p.Bits()); word += 4 {
		bits := min(p.Bits()-word*8, 32)
		keys = append(keys, netlink.TcU32Key{
			Mask: uint32(0xffffffff << (32 - bits)), Val: binary.BigEndian.Uint32(address[word:]), Off: offset + int32(word),
		})
	}
	return slices.Clip(keys) // the library takes the capacity for the length
}

// match adds a u32 filter below a parent.
func (t target) match(parent uint32, priority, protocol uint16, f netlink.U32) error {
	f.FilterAttrs = netlink.FilterAttrs{LinkIndex: t.link.Index, Parent: parent, Priority: priority, Protocol: protocol}
	err := t.k.Call(t.side, func(h *netlink.Handle) error { return h.FilterAdd(&f) })
	switch {
	case errors.Is(err, unix.ENOENT):
		return errors.Join(lacking("u32", "mirred"), err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSPC):
		return t.occupied(parent, priority, protocol, err)
	}
	return err
}

// occupied explains a refused filter: one priority has filters of one kind and
// protocol.
func (t target) occupied(parent uint32, priority, protocol uint16, cause error) error {
	all, err := t.filters(parent)
	for _, f := range all {
		if a := f.Attrs(); err == nil && a.Priority == priority && (f.Type() != "u32" || a.Protocol != protocol) {
			err := cni.Taken("%s has a filter of priority %d already, of the kind %s", t.link.Name, priority, f.Type())
			return cni.Hint(err, "give the other program's filter another priority (tc filter show dev "+t.link.Name+" ingress)")
		}
	}
	return cause
}

// filters lists those of the link below a parent.
func (t target) filters(parent uint32) ([]netlink.Filter, error) {
	all, err := kernel.ListOf(t.k, t.side, func(h *netlink.Handle) ([]netlink.Filter, error) { return h.FilterList(t.link.Typed, parent) })
	if err != nil {
		return nil, fmt.Errorf("list the filters of %s: %w", t.link.Name, err)
	}
	return all, nil
}

// unmatch removes our filters below a parent. A priority without others' filters is
// removed whole: the kernel would keep it when it is empty.
func (t target) unmatch(parent uint32, own func(netlink.Filter) bool) error {
	all, err := t.filters(parent)
	if err != nil {
		return gone(err)
	}
	shared := map[uint16]bool{}
	for _, f := range all {
		shared[f.Attrs().Priority] = shared[f.Attrs().Priority] || !own(f)
	}
	return fact.ForEach(all, func(f netlink.Filter) error {
		a := *f.Attrs()
		if !own(f) {
			return nil
		}
		if !shared[a.Priority] {
			a.Handle = 0
		}
		return kernel.Gone(t.k.Call(t.side, func(h *netlink.Handle) error {
			return h.FilterDel(&netlink.GenericFilter{FilterAttrs: a, FilterType: f.Type()})
		}))
	})
}

// family is the protocol that a prefix's packets have, and its place among the
// priorities.
func family(p netip.Prefix) (protocol, place uint16) {
	if p.Addr().Is4() {
		return unix.ETH_P_IP, 0
	}
	return unix.ETH_P_IPV6, 1
}

// exempt adds a filter for each subnet, in the priorities from one on.
func (t target) exempt(parent uint32, first uint16, class uint32, end End, subnets []netip.Prefix) error {
	for _, p := range subnets {
		protocol, place := family(p)
		sel := &netlink.TcU32Sel{Flags: netlink.TC_U32_TERMINAL, Keys: prefixKeys(p, end)}
		if err := t.match(parent, first+place, protocol, netlink.U32{ClassId: class, Sel: sel}); err != nil {
			return fmt.Errorf("%v: %w", p, err)
		}
	}
	return nil
}

// exempts looks for those filters.
func (t target) exempts(parent uint32, first uint16, end End, subnets []netip.Prefix) error {
	have, err := t.filters(parent)
	if err != nil {
		return err
	}
	for _, p := range subnets {
		_, place := family(p)
		keys := prefixKeys(p, end)
		if !slices.ContainsFunc(have, func(f netlink.Filter) bool {
			u, ok := f.(*netlink.U32)
			return ok && u.Priority == first+place && u.Sel != nil && slices.Equal(u.Sel.Keys, keys)
		}) {
			return fmt.Errorf("%s has no filter for %v", t.link.Name, p)
		}
	}
	return nil
}
