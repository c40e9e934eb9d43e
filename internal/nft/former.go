package nft

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// A former build of catena had single host ports in the sets with ranges too.
// Those that it has left are still looked up there, exclude others, and go with
// their pod by its record. Only CHECK, which knows the members as this build
// would add them, must find out that they stand elsewhere.

// former gives the members as a former build has recorded them, if it has, and
// they lead where these do.
func (m Members) former() (Members, bool) {
	r, err := readRecord(m.key())
	if err != nil || r.Owner != m.Owner || !slices.ContainsFunc(r.Elements, Element.former) || !maps.Equal(leads(r.Elements), leads(m.Elements)) {
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

// hostPort is one port of the host.
type hostPort struct {
	protocol uint8
	at       netip.AddrPort
}

// leads are the host ports that members take, and where they lead.
func leads(elements []Element) map[hostPort]netip.AddrPort {
	out := map[hostPort]netip.AddrPort{}
	for _, e := range elements {
		e.Set = strings.Replace(e.Set, "shift", "port", 1) // they come behind the claims
		c, _ := e.claim()
		if !c.pod.IsValid() {
			continue
		}
		for port := int(c.first); port <= int(c.last); port++ {
			to := c.podPort
			if to == 0 {
				to = uint16(port)
			}
			out[hostPort{c.protocol, netip.AddrPortFrom(c.host, uint16(port))}] = netip.AddrPortFrom(c.pod, to)
		}
	}
	return out
}
