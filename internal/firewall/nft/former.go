package nft

import (
	"bytes"
	"slices"
	"strings"
)

// A former build of catena had single host ports in the sets with ranges too.
// Those that it has left are still looked up there, exclude others, and go with
// their pod by its record. Only CHECK, which knows the members as this build
// would add them, must find out that they stand elsewhere.

// recorded gives the members as a former build has recorded them, if it has, and
// they lead where these do.
func (m Members) recorded() (Members, bool) {
	r, err := readRecord(m.key())
	if single := m.claims.single(m); err == nil && r.Owner == m.Owner && slices.EqualFunc(r.Elements, single, Element.same) {
		m.Elements = single // it was spread
		return m, true
	}
	if err != nil || r.Owner != m.Owner || !slices.ContainsFunc(r.Elements, Element.former) || !slices.Equal(leads(r.Elements), leads(m.Elements)) {
		return m, false
	}
	m.Elements = r.Elements
	return m, true
}

// former tells the members that this build does not add: single ports among
// rows, and ports with shifts of their own.
func (e Element) former() bool {
	c, ok := e.claim()
	return ok && e.End != nil && int(c.last)-int(c.first)+1 < row || strings.HasPrefix(e.Set, "shift")
}

// same compares what is in the set.
func (e Element) same(o Element) bool {
	return e.Set == o.Set && bytes.Equal(e.Key, o.Key) && bytes.Equal(e.End, o.End) && bytes.Equal(e.Data, o.Data)
}

// leads are the single host ports that members take, and where they lead, in the
// order of their ports.
func leads(elements []Element) (out []claimed) {
	for _, e := range elements {
		shift := strings.HasPrefix(e.Set, "shift") // these come behind the claims
		if shift {
			e.Set = "port" + strings.TrimPrefix(e.Set, "shift")
		}
		c, ok := e.claim()
		for port := int(c.first); ok && port <= int(c.last); port++ {
			one := c
			one.first, one.last = uint16(port), uint16(port)
			at := slices.IndexFunc(out, func(o claimed) bool { return shift && o.host == one.host && o.overlaps(one) })
			switch {
			case at >= 0:
				out[at].podPort = c.podPort
			case c.podPort == 0:
				one.podPort = uint16(port)
				fallthrough
			default:
				out = append(out, one)
			}
		}
	}
	return out
}
