package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/catena-cni/catena/internal/firewall/conntrack"
	"github.com/catena-cni/catena/internal/state/name"
)

// claimed is what a member of dnatN, portN or portatN takes of the host, and
// where it leads. Of the three sets of a family no two members may overlap.
type claimed struct {
	protocol    uint8
	host        netip.Addr // the unspecified one is every address
	first, last uint16
	pod         netip.Addr
	podPort     uint16 // 0 is the host's port
}

// isClaim tells the sets whose members say which host ports are taken. Who has
// a port there has it in the others.
func isClaim(set string) bool {
	return strings.HasPrefix(set, "dnat") || strings.HasPrefix(set, "port")
}

// claimOf reads a member. Those of other sets are no claim.
func claimOf(set string, key, end, data []byte) (c claimed, ok bool) {
	base, _, _ := strings.Cut(set, "_")
	size := 4
	if strings.HasSuffix(base, "6") {
		size = 16
	}
	const ports = 8 // the port and the protocol
	if !isClaim(set) || len(key) < ports || len(data) < size {
		return c, false
	}
	c.protocol, c.first = key[4], binary.BigEndian.Uint16(key)
	c.last = c.first
	c.pod, _ = netip.AddrFromSlice(data[:size])
	c.host, _ = netip.AddrFromSlice(make([]byte, size))
	if len(data) >= size+2 {
		c.podPort = binary.BigEndian.Uint16(data[size:])
	}
	if len(key) >= ports+size && (end == nil || bytes.Equal(key[ports:], end[min(ports, len(end)):])) {
		c.host, _ = netip.AddrFromSlice(key[ports : ports+size])
	}
	if len(end) >= ports {
		c.last = binary.BigEndian.Uint16(end)
	}
	return c, true
}

func (e Element) claim() (claimed, bool) { return claimOf(e.Set, e.Key, e.End, e.Data) }

// overlaps compares with another one of the family.
func (c claimed) overlaps(o claimed) bool {
	return c.protocol == o.protocol && c.first <= o.last && o.first <= c.last &&
		(c.host == o.host || c.host.IsUnspecified() || o.host.IsUnspecified())
}

// flows are the connections that lead to the members' pod.
func flows(elements []Element) (out []conntrack.Flow) {
	for _, e := range elements {
		c, ok := e.claim()
		if !ok {
			continue
		}
		if n := len(out) - 1; n >= 0 && out[n].Protocol == c.protocol && out[n].Host == c.host && out[n].Pod == c.pod && int(out[n].Last)+1 == int(c.first) {
			out[n].Last = c.last
			continue
		}
		out = append(out, conntrack.Flow{Protocol: c.protocol, Host: c.host, First: c.first, Last: c.last, Pod: c.pod})
	}
	return out
}

// hosted is the set of the ports that somebody has at one of the host's
// addresses alone. It is no more than a hint where to look: nothing is ever
// taken out of it.
const hosted = "hosted"

// hint is the members of hosted for a run at one address.
func (r run) hint() (out []Element) {
	if r.Host.IsUnspecified() {
		return nil
	}
	for _, m := range r.all {
		out = append(out, Element{
			Set: hosted, Shared: true, Key: fields(be16(m.HostPort), []byte{m.Protocol}),
			Text: fmt.Sprintf("%d . %s", m.HostPort, protocolName(m.Protocol)),
		})
	}
	return out
}

// contested finds the claims that may overlap others, which the kernel has not
// refused. For a single port that is asking by name; a row is held against all
// others.
func (c conn) contested(t *table, elements []Element) (out []Element, err error) {
	var questions []Element
	var about []int
	for i, e := range elements {
		_, ok := e.claim()
		if !ok {
			continue
		}
		if e.End != nil {
			out = append(out, e)
			continue
		}
		for _, q := range e.rivals() {
			questions, about = append(questions, q), append(about, i)
		}
	}
	answers, err := c.getEach(t, questions)
	if err != nil {
		return nil, err
	}
	for i, f := range answers {
		if f.key != nil {
			out = append(out, elements[about[i]])
		}
	}
	return out, nil
}

// rivals are the members beside which a single port cannot be alone. Of a port
// at every address, those at one are many: hosted says whether there is any.
func (e Element) rivals() []Element {
	sets, single := together(e.Set), e.Key[:8]
	if e.Set == sets[2] {
		return []Element{{Set: sets[1], Key: single}, {Set: sets[0], Key: e.Key, End: e.Key}}
	}
	anywhere := append(bytes.Clone(single), make([]byte, len(e.Data)-4)...)
	return []Element{{Set: hosted, Key: single}, {Set: sets[0], Key: anywhere, End: anywhere}}
}

// together are the sets in which no two members may overlap, of which a claim's
// is one: of rows, of single ports, and of those at one address.
func together(set string) [3]string {
	base, suffix, profiled := strings.Cut(set, "_")
	family := base[len(base)-1:]
	if profiled {
		family += "_" + suffix
	}
	return [3]string{"dnat" + family, "port" + family, "portat" + family}
}

// held is what another one has of a member, and who.
type held struct{ what, by string }

// common is the host ports that two claims both take.
func (c claimed) common(o claimed) string {
	host := c.host
	if host.IsUnspecified() {
		host = o.host
	}
	first, last := max(c.first, o.first), min(c.last, o.last)
	if first == last {
		return HostPort(c.protocol, host, fmt.Sprint(first))
	}
	return HostPort(c.protocol, host, fmt.Sprintf("%d-%d", first, last))
}

// shared is what a member has in common with another one that says no more of
// host ports than which of them are masqueraded.
func shared(e Element, f found) string {
	if !strings.HasPrefix(e.Set, "snat") {
		return e.String()
	}
	ports := func(key, end []byte) claimed {
		if end == nil { // by hand
			end = key
		}
		return claimed{protocol: key[4], host: netip.IPv4Unspecified(), first: binary.BigEndian.Uint16(key), last: binary.BigEndian.Uint16(end)}
	}
	return ports(e.Key, e.End).common(ports(f.key, f.end))
}

// HostPort is how people write host ports: with the address only where it is one.
func HostPort(protocol uint8, host netip.Addr, ports string) string {
	if !host.IsUnspecified() {
		ports = net.JoinHostPort(host.String(), ports)
	}
	return fmt.Sprintf("host port %s/%s", ports, protocolName(protocol))
}

// holder finds whose member overlaps another, of those that are neither one's
// own nor another attachment's of the container. Of the latter near says that one
// overlaps, and is not the same.
func (c conn) holder(t *table, e Element, own name.Attachment) (h held, near bool, err error) {
	s, err := t.setNamed(e.Set)
	if err != nil {
		return h, false, err
	}
	sets := []string{e.Set}
	mine, isClaim := e.claim()
	if isClaim {
		all := together(e.Set)
		sets = all[:]
	}
	for _, set := range sets {
		have, err := c.dump(t, set)
		if err != nil {
			return h, false, err
		}
		for _, f := range have {
			theirs, _ := claimOf(set, f.key, f.end, f.data)
			switch {
			case f.comment == own.Comment(), isClaim && !mine.overlaps(theirs), !isClaim && !overlap(s.key, f.key, f.end, e.Key, e.End):
			case !beside(own, f.comment) && isClaim:
				return held{mine.common(theirs), f.comment}, false, nil
			case !beside(own, f.comment):
				return held{shared(e, f), f.comment}, false, nil
			default:
				near = near || set != e.Set || !f.is(e)
			}
		}
	}
	return h, near, nil
}
