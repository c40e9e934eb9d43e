package lease

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A Range is a run of addresses in one subnet. A zero Start, End or Gateway
// stands for its default, which Complete fills in. No address is an IPv4-mapped
// one, or has a zone.
type Range struct {
	Subnet  netip.Prefix
	Start   netip.Addr
	End     netip.Addr
	Gateway netip.Addr
}

// Complete returns r with its defaults filled in, or an error that says what is
// wrong with r.
//
// The defaults are those of upstream: the first address is network+1, the
// last is broadcast-1 for IPv4 and all ones for IPv6, the gateway network+1.
// A subnet of two addresses or of one has no network, broadcast or gateway
// address; upstream refuses it, here every address of it may be used.
func (r Range) Complete() (Range, error) {
	if !r.Subnet.IsValid() {
		return r, errors.New("a range has no valid subnet")
	}
	if r.Subnet != r.Subnet.Masked() {
		return r, fmt.Errorf("subnet %s has host bits set; the network is %s", r.Subnet, r.Subnet.Masked())
	}
	first, last := r.Subnet.Addr(), lastOf(r.Subnet)
	start, end, gateway := first.Next(), last, first.Next()
	switch {
	case r.Subnet.Bits() >= first.BitLen()-1:
		start, gateway = first, netip.Addr{}
	case first.Is4():
		end = last.Prev()
	}
	r.Start, r.End, r.Gateway = cmp.Or(r.Start, start), cmp.Or(r.End, end), cmp.Or(r.Gateway, gateway)
	return r, r.validate()
}

func (r Range) validate() error {
	for _, bound := range []struct {
		name string
		addr netip.Addr
	}{{"rangeStart", r.Start}, {"rangeEnd", r.End}} {
		if !r.Subnet.Contains(bound.addr) {
			return fmt.Errorf("%s %s is not in subnet %s", bound.name, bound.addr, r.Subnet)
		}
	}
	if r.End.Less(r.Start) {
		return fmt.Errorf("rangeStart %s is after rangeEnd %s", r.Start, r.End)
	}
	return nil
}

// Contains reports whether addr is one of the addresses from Start to End.
func (r Range) Contains(addr netip.Addr) bool {
	return addr.BitLen() == r.Start.BitLen() && !addr.Less(r.Start) && !r.End.Less(addr)
}

// String is the form in which ranges stand in messages: start-end.
func (r Range) String() string {
	return r.Start.String() + "-" + r.End.String()
}

// unusable says why no host of r's subnet can have addr, which lies in r, or "".
// The configuration may name the network or the broadcast address as a
// bound, but no host of an IPv4 subnet can use either.
func (r Range) unusable(addr netip.Addr) string {
	switch {
	case addr == r.Gateway:
		return "the gateway"
	case !addr.Is4() || r.Subnet.Bits() >= 31:
		return ""
	case addr == r.Subnet.Addr():
		return "the network address"
	case addr == lastOf(r.Subnet):
		return "the broadcast address"
	}
	return ""
}

func (r Range) overlaps(other Range) bool {
	return r.Start.BitLen() == other.Start.BitLen() && !other.End.Less(r.Start) && !r.End.Less(other.Start)
}

// A Set is a list of ranges of one family, tried in turn as if they were one
// long range. An attachment gets one address of each set. Sets makes them.
type Set struct {
	ranges  []Range
	exclude []Range // that overlap one of ranges
}

// Sets completes and checks a configuration: a list of sets, each a list of
// ranges, and what of them is never handed out. What is excluded may lie
// anywhere, but must leave something of each range.
func Sets(config [][]Range, exclude []netip.Prefix) ([]Set, error) {
	if len(config) == 0 {
		return nil, errors.New("no range is configured")
	}
	var all []Range
	sets := make([]Set, 0, len(config))
	for i, ranges := range config {
		if len(ranges) == 0 {
			return nil, fmt.Errorf("range set %d is empty", i)
		}
		var set Set
		for _, r := range ranges {
			c, err := r.Complete()
			if err != nil {
				return nil, fmt.Errorf("range set %d: %w", i, err)
			}
			if len(set.ranges) > 0 && set.Is4() != c.Start.Is4() {
				return nil, fmt.Errorf("range set %d mixes families: %s and %s", i, set.ranges[0].Subnet, c.Subnet)
			}
			if j := slices.IndexFunc(all, c.overlaps); j >= 0 {
				return nil, fmt.Errorf("range set %d: range %s overlaps range %s", i, c, all[j])
			}
			all = append(all, c)
			set.ranges = append(set.ranges, c)
		}
		if err := set.without(exclude); err != nil {
			return nil, fmt.Errorf("range set %d: %w", i, err)
		}
		sets = append(sets, set)
	}
	return sets, nil
}

// Contains reports whether addr lies in a range of s.
func (s Set) Contains(addr netip.Addr) bool { return s.find(addr) >= 0 }

// Is4 reports whether s hands out IPv4 addresses.
func (s Set) Is4() bool { return s.ranges[0].Start.Is4() }

// String lists the ranges: start-end,start-end.
func (s Set) String() string {
	texts := make([]string, len(s.ranges))
	for i, r := range s.ranges {
		texts[i] = r.String()
	}
	text := strings.Join(texts, ",")
	if len(s.exclude) > 0 {
		text += " less what is excluded"
	}
	return text
}

// unusable says why addr, which lies in s, must never be handed out, or "".
func (s Set) unusable(addr netip.Addr) string {
	if _, excluded := s.excluded(addr); excluded {
		return "excluded"
	}
	return s.ranges[s.find(addr)].unusable(addr)
}

// find returns the index of the range that addr lies in, or -1.
func (s Set) find(addr netip.Addr) int {
	return slices.IndexFunc(s.ranges, func(r Range) bool { return r.Contains(addr) })
}

// lastOf returns the address of p whose host bits are all ones.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr
}
