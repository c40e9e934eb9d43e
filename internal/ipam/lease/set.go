package lease

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
)

// A Set is a list of ranges of one family, tried in turn as if they were one
// long range. An attachment gets one address of each set.
type Set struct {
	ranges  []Range
	exclude []Range   // that overlap one of ranges
	free    [][]Range // for each of ranges, the parts of it that can be handed out
}

// NewSet makes a set of complete ranges, which overlap neither each other nor those
// of other sets. What is excluded is never handed out. It may lie anywhere, but must
// leave something of each range.
func NewSet(ranges []Range, exclude []netip.Prefix, others []Set) (Set, error) {
	s := Set{ranges: ranges}
	for _, p := range exclude {
		x := Range{Start: p.Masked().Addr(), End: lastOf(p)}
		if slices.ContainsFunc(ranges, x.overlaps) {
			s.exclude = append(s.exclude, x)
		}
	}
	var before []Range
	for _, o := range others {
		before = append(before, o.ranges...)
	}
	for _, r := range ranges {
		if r.Start.Is4() != s.Is4() {
			return Set{}, fmt.Errorf("the set mixes families: %s and %s", ranges[0].Subnet, r.Subnet)
		}
		if i := slices.IndexFunc(before, r.overlaps); i >= 0 {
			return Set{}, fmt.Errorf("range %s overlaps range %s", r, before[i])
		}
		before = append(before, r)
		free := r.usable()
		for _, x := range s.exclude {
			free = without(free, x)
		}
		if len(free) == 0 && len(s.exclude) > 0 {
			return Set{}, fmt.Errorf("all of range %s is excluded", r)
		}
		s.free = append(s.free, free)
	}
	return s, nil
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
	if slices.ContainsFunc(s.exclude, func(x Range) bool { return x.Contains(addr) }) {
		return "excluded"
	}
	return s.ranges[s.find(addr)].unusable(addr)
}

// find returns the index of the range that addr lies in, or -1.
func (s Set) find(addr netip.Addr) int {
	return slices.IndexFunc(s.ranges, func(r Range) bool { return r.Contains(addr) })
}

// from steps once round s in upstream's order: from the address after the one
// reserved last, or else from the first, through every range in turn, and back.
func (s Set) from(last netip.Addr) iter.Seq[netip.Addr] {
	at := s.find(last)
	var before, after []Range // up to last, and behind it
	for i, parts := range s.free {
		for _, p := range parts {
			switch {
			case i < at || i == at && !last.Less(p.End):
				before = append(before, p)
			case i == at && p.Contains(last):
				before = append(before, Range{Start: p.Start, End: last})
				after = append(after, Range{Start: last.Next(), End: p.End})
			default:
				after = append(after, p)
			}
		}
	}
	return func(yield func(netip.Addr) bool) {
		for _, p := range append(after, before...) {
			for addr := p.Start; p.Contains(addr); addr = addr.Next() {
				if !yield(addr) {
					return
				}
			}
		}
	}
}
