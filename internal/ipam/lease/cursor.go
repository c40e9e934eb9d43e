package lease

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/catena-cni/catena/internal/lists"
)

// A span is a run of excluded addresses, however long it is.
type span struct {
	first, last netip.Addr
}

// spansOf puts prefixes in order, without those that lie in others.
func spansOf(prefixes []netip.Prefix) (apart []span) {
	var all []span
	for _, p := range prefixes {
		all = append(all, span{p.Masked().Addr(), lastOf(p)})
	}
	lists.Sort(all, func(a, b span) int { return cmp.Or(a.first.Compare(b.first), b.last.Compare(a.last)) })
	for _, x := range all {
		// Of two prefixes that overlap one holds the other.
		if n := len(apart); n == 0 || apart[n-1].last.Less(x.first) {
			apart = append(apart, x)
		}
	}
	return apart
}

// leave sets what is excluded of s, and fails where nothing is left of a range.
func (s *Set) leave(spans []span) error {
	for _, x := range spans {
		if slices.ContainsFunc(s.ranges, x.touches) {
			s.exclude = append(s.exclude, x)
		}
	}
	if len(s.exclude) == 0 {
		return nil
	}
	for _, r := range s.ranges {
		if !s.usable(r) {
			return fmt.Errorf("all of range %s is excluded", r)
		}
	}
	return nil
}

func (x span) touches(r Range) bool {
	return x.first.BitLen() == r.Start.BitLen() && !r.End.Less(x.first) && !x.last.Less(r.Start)
}

// usable reports whether r has an address that can be handed out.
func (s *Set) usable(r Range) bool {
	for a := r.Start; r.Contains(a); a = a.Next() {
		if x, in := s.excluded(a); in {
			a = x.last
		} else if r.unusable(a) == "" {
			return true
		}
	}
	return false
}

// excluded returns the span that addr lies in.
func (s *Set) excluded(addr netip.Addr) (span, bool) {
	i, at := slices.BinarySearchFunc(s.exclude, addr, func(x span, a netip.Addr) int {
		switch {
		case a.Less(x.first):
			return 1
		case x.last.Less(a):
			return -1
		}
		return 0
	})
	if !at {
		return span{}, false
	}
	return s.exclude[i], true
}

// A cursor steps once round a set, in upstream's order: from the address
// after the one reserved last, or else from the first, through every range
// in turn, and back.
type cursor struct {
	set   Set
	at    int
	next  netip.Addr
	start netip.Addr
	moved bool
}

func (s Set) cursor(last netip.Addr) *cursor {
	c := &cursor{set: s, next: s.ranges[0].Start}
	if i := s.find(last); i >= 0 {
		c.at, c.next = i, last
		c.advance()
	}
	c.jump()
	c.start, c.moved = c.next, false
	return c
}

// step returns the next address that may be handed out and its range. It
// returns false when it is back where it started.
func (c *cursor) step() (Range, netip.Addr, bool) {
	for !c.moved || c.next != c.start {
		r, addr := c.set.ranges[c.at], c.next
		c.advance()
		c.jump()
		if r.unusable(addr) == "" {
			return r, addr, true
		}
	}
	return Range{}, netip.Addr{}, false
}

func (c *cursor) advance() {
	c.moved = true
	if c.next != c.set.ranges[c.at].End {
		c.next = c.next.Next()
		return
	}
	c.at = (c.at + 1) % len(c.set.ranges)
	c.next = c.set.ranges[c.at].Start
}

// jump goes past what is excluded, in as many steps as there are spans of it.
func (c *cursor) jump() {
	// Something is left of every range, so this ends.
	for x, in := c.set.excluded(c.next); in; x, in = c.set.excluded(c.next) {
		if c.next = x.last; !c.set.ranges[c.at].Contains(c.next) {
			c.next = c.set.ranges[c.at].End
		}
		c.advance()
	}
}
