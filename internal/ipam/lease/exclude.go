package lease

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
)

// without sets what is excluded of s, and fails where nothing is left of a range.
func (s *Set) without(exclude []netip.Prefix) error {
	for _, p := range exclude {
		x := Range{Start: p.Masked().Addr(), End: lastOf(p)}
		if slices.ContainsFunc(s.ranges, x.overlaps) {
			s.exclude = append(s.exclude, x)
		}
	}
	for _, r := range s.ranges {
		if len(s.exclude) > 0 && !s.usable(r) {
			return fmt.Errorf("all of range %s is excluded", r)
		}
	}
	return nil
}

// usable reports whether r has an address that can be handed out.
func (s *Set) usable(r Range) bool {
	for a := r.Start; r.Contains(a); a = a.Next() {
		if x, in := s.excluded(a); in {
			a = x.End
		} else if r.unusable(a) == "" {
			return true
		}
	}
	return false
}

// excluded returns what addr lies in of all that is excluded.
func (s *Set) excluded(addr netip.Addr) (Range, bool) {
	for _, x := range s.exclude {
		if x.Contains(addr) {
			return x, true
		}
	}
	return Range{}, false
}

// from steps once round s in upstream's order: from the address after the one
// reserved last, or else from the first, through every range in turn, and back.
func (s Set) from(last netip.Addr) iter.Seq[netip.Addr] {
	i, addr := 0, s.ranges[0].Start
	if at := s.find(last); at >= 0 {
		i, addr = s.next(at, last)
	}
	i, addr = s.skip(i, addr)
	return func(yield func(netip.Addr) bool) {
		for first := addr; ; {
			if s.ranges[i].unusable(addr) == "" && !yield(addr) {
				return
			}
			if i, addr = s.skip(s.next(i, addr)); addr == first {
				return
			}
		}
	}
}

// next returns what comes after an address of range i.
func (s Set) next(i int, addr netip.Addr) (int, netip.Addr) {
	if addr != s.ranges[i].End {
		return i, addr.Next()
	}
	i = (i + 1) % len(s.ranges)
	return i, s.ranges[i].Start
}

// skip goes past what is excluded, in no more steps than there are prefixes.
// Something is left of every range, so this ends.
func (s Set) skip(i int, addr netip.Addr) (int, netip.Addr) {
	for x, in := s.excluded(addr); in; x, in = s.excluded(addr) {
		if addr = x.End; !s.ranges[i].Contains(addr) {
			addr = s.ranges[i].End
		}
		i, addr = s.next(i, addr)
	}
	return i, addr
}
