package lease

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
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
	switch {
	case !r.Subnet.Contains(r.Start):
		return r, fmt.Errorf("rangeStart %s is not in subnet %s", r.Start, r.Subnet)
	case !r.Subnet.Contains(r.End):
		return r, fmt.Errorf("rangeEnd %s is not in subnet %s", r.End, r.Subnet)
	case r.End.Less(r.Start):
		return r, fmt.Errorf("rangeStart %s is after rangeEnd %s", r.Start, r.End)
	}
	return r, nil
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

// usable returns the parts of r that hosts can have.
func (r Range) usable() []Range {
	parts := []Range{r}
	for _, a := range []netip.Addr{r.Gateway, r.Subnet.Addr(), lastOf(r.Subnet)} {
		if r.unusable(a) != "" {
			parts = without(parts, Range{Start: a, End: a})
		}
	}
	return parts
}

// without takes x out of ranges.
func without(ranges []Range, x Range) (parts []Range) {
	for _, r := range ranges {
		if !r.overlaps(x) {
			parts = append(parts, r)
			continue
		}
		if r.Start.Less(x.Start) {
			parts = append(parts, Range{Start: r.Start, End: x.Start.Prev()})
		}
		if x.End.Less(r.End) {
			parts = append(parts, Range{Start: x.End.Next(), End: r.End})
		}
	}
	return parts
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
