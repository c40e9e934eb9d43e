package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/conntrack"
	"github.com/catena-cni/catena/internal/name"
)

// Mapping leads a port of the host to a port of a pod.
type Mapping struct {
	Protocol uint8
	// Host is the host's address; 0.0.0.0 and :: are all of their family's.
	Host     netip.Addr
	HostPort uint16
	// Pod is the pod's address, with the length of its subnet's prefix.
	Pod     netip.Prefix
	PodPort uint16
}

func (m Mapping) String() string {
	return fmt.Sprintf("%s %v", protocolName(m.Protocol), netip.AddrPortFrom(m.Host, m.HostPort))
}

// Protocols are those that have ports.
var Protocols = map[string]uint8{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP}

func protocolName(number uint8) string {
	for name, n := range Protocols {
		if n == number {
			return name
		}
	}
	return fmt.Sprint(number)
}

// Sources are those whose connections to host ports are masqueraded.
type Sources int

// NoSources keeps every client's address. LocalSources are the pods of the
// subnet and the host's loopback, whose answers would not find back otherwise.
const (
	NoSources Sources = iota
	LocalSources
	AllSources
)

// Ports are host ports that lead to a pod. They belong to one pod at a time. The
// mappings are as Merge gives them.
func Ports(owner name.Attachment, mappings []Mapping, from Sources, p *Profile) Members {
	m := Members{Owner: owner, Kind: KindPorts, Exclusive: true, table: inet, profile: p}
	claims := runs(mappings, func(first, m Mapping) bool { return true })
	for _, c := range claims {
		m.Elements = append(m.Elements, c.element("dnat", p.claimSuffix(), c.Pod.Addr().AsSlice(), c.Pod.Addr()))
	}
	shifted := slices.DeleteFunc(slices.Clone(mappings), func(m Mapping) bool { return m.HostPort == m.PodPort })
	for _, s := range runs(shifted, func(first, m Mapping) bool { return m.PodPort == first.PodPort }) {
		m.Elements = append(m.Elements, s.element("shift", p.claimSuffix(),
			fields(s.Pod.Addr().AsSlice(), be16(s.PodPort)), fmt.Sprintf("%v . %d", s.Pod.Addr(), s.PodPort)))
	}
	for _, c := range claims {
		m.Elements = append(m.Elements, c.masqueraded(from, p.snatSuffix())...)
		m.Elements = append(m.Elements, c.hint()...)
	}
	return m
}

// Merge orders mappings and drops those that others imply. Two that lead one
// port to two places are an error.
func Merge(mappings []Mapping) (out []Mapping, err error) {
	type where struct {
		protocol uint8
		host     netip.Addr
		port     uint16
	}
	taken := map[where]Mapping{}
	for _, m := range slices.SortedStableFunc(slices.Values(mappings), byPort) {
		at := where{m.Protocol, m.Host, m.HostPort}
		everywhere := at
		everywhere.host = netip.PrefixFrom(m.Host, 0).Masked().Addr()
		before, found := taken[everywhere]
		if !found {
			before, found = taken[at]
		}
		switch {
		case !found:
			taken[at] = m
			out = append(out, m)
		case before.PodPort != m.PodPort:
			return nil, fmt.Errorf("%v leads to the pod's port %d, and %v to %d: a host port leads to one port", before, before.PodPort, m, m.PodPort)
		}
	}
	return out, nil
}

// byPort puts what may be one range behind one another, and whole families
// before single addresses.
func byPort(a, b Mapping) int {
	if c := a.Host.Compare(b.Host); c != 0 {
		return c
	}
	return (int(a.Protocol)-int(b.Protocol))<<16 + int(a.HostPort) - int(b.HostPort)
}

// run is mappings of ports that follow one another, by their first.
type run struct {
	Mapping
	last uint16
}

// runs joins mappings of ports that follow one another, as far as the later one
// fits the first.
func runs(mappings []Mapping, fits func(first, m Mapping) bool) (out []run) {
	for _, m := range mappings {
		if n := len(out) - 1; n >= 0 && out[n].last+1 == m.HostPort && m.HostPort != 0 &&
			out[n].Protocol == m.Protocol && out[n].Host == m.Host && fits(out[n].Mapping, m) {
			out[n].last = m.HostPort
			continue
		}
		out = append(out, run{m, m.HostPort})
	}
	return out
}

// key gives the first and the last of what the run takes, and its text.
func (r run) key() (first, end []byte, text string) {
	host := netip.PrefixFrom(r.Host, r.Host.BitLen())
	where := r.Host.String()
	if r.Host.IsUnspecified() {
		host = netip.PrefixFrom(r.Host, 0)
		where = host.String()
	}
	first = fields(be16(r.HostPort), []byte{r.Protocol}, host.Addr().AsSlice())
	end = fields(be16(r.last), []byte{r.Protocol}, last(host))
	ports := fmt.Sprint(r.HostPort)
	if r.last != r.HostPort {
		ports = fmt.Sprintf("%d-%d", r.HostPort, r.last)
	}
	return first, end, fmt.Sprintf("%s . %s . %s", ports, protocolName(r.Protocol), where)
}

// set is the name of the set that has a run of this family.
func (r run) set(base, suffix string) string { return base + version(r.Host) + suffix }

// element is the run in a map.
func (r run) element(base, suffix string, data []byte, to any) Element {
	first, end, text := r.key()
	return Element{Set: r.set(base, suffix), Key: first, End: end, Data: data, Text: fmt.Sprintf("%s : %v", text, to)}
}

// loopback is where the host's own connections to 127.0.0.1 come from.
var loopback = netip.MustParsePrefix("127.0.0.0/8")

func (r run) masqueraded(from Sources, suffix string) (out []Element) {
	var sources []netip.Prefix
	switch subnet := r.Pod.Masked(); {
	case from == AllSources:
		sources = []netip.Prefix{netip.PrefixFrom(subnet.Addr(), 0).Masked()}
	case from == LocalSources && subnet.Addr().Is4() && !subnet.Overlaps(loopback):
		sources = []netip.Prefix{subnet, loopback}
	case from == LocalSources:
		sources = []netip.Prefix{subnet}
	}
	first, end, text := r.key()
	for _, s := range sources {
		out = append(out, Element{
			Set: r.set("snat", suffix), Key: append(first[:len(first):len(first)], s.Addr().AsSlice()...), End: append(end[:len(end):len(end)], last(s)...),
			Text: fmt.Sprintf("%s . %v", text, s),
		})
	}
	return out
}

// Flows are the connections that mappings are about, for what remembers them.
func Flows(mappings []Mapping) (out []conntrack.Flow) {
	for _, r := range runs(mappings, func(first, m Mapping) bool {
		return m.PodPort-first.PodPort == m.HostPort-first.HostPort
	}) {
		out = append(out, conntrack.Flow{
			Protocol: r.Protocol, Host: r.Host, First: r.HostPort, Last: r.last, Pod: r.Pod.Addr(), PodPort: r.PodPort,
		})
	}
	return out
}

// flows are the connections that lead to the members' pod.
func flows(elements []Element) (out []conntrack.Flow) {
	for _, e := range elements {
		if !isClaim(e.Set) || len(e.Data) != 4 && len(e.Data) != 16 {
			continue
		}
		size := len(e.Data)
		pod, _ := netip.AddrFromSlice(e.Data)
		if len(e.Key) < 8+size || len(e.End) < 8+size {
			continue
		}
		host, _ := netip.AddrFromSlice(e.Key[8 : 8+size])
		out = append(out, conntrack.Flow{
			Protocol: e.Key[4], Host: host, Pod: pod, First: binary.BigEndian.Uint16(e.Key), Last: binary.BigEndian.Uint16(e.End),
		})
	}
	return out
}

// isClaim tells the sets whose members say which host ports are taken. Who has
// a port there has it in the others.
func isClaim(set string) bool { return strings.HasPrefix(set, "dnat") }

// hosted is the set of the ports that somebody has at one of the host's
// addresses alone. It is no more than a hint where to look: nothing is ever
// taken out of it.
const hosted = "hosted"

// hint is the members of hosted for a run at one address.
func (r run) hint() (out []Element) {
	if r.Host.IsUnspecified() {
		return nil
	}
	for port := int(r.HostPort); port <= int(r.last); port++ {
		out = append(out, Element{
			Set: hosted, Shared: true, Key: fields(be16(uint16(port)), []byte{r.Protocol}),
			Text: fmt.Sprintf("%d . %s", port, protocolName(r.Protocol)),
		})
	}
	return out
}

// mayHold reports whether a claim may hold another one inside: it is of several
// ports, or of every address while somebody has the port at one.
func (c conn) mayHold(t *table, e Element) (bool, error) {
	if !isClaim(e.Set) || len(e.Key) < 8 || len(e.End) != len(e.Key) {
		return false, nil
	}
	if !bytes.Equal(e.Key[:2], e.End[:2]) {
		return true, nil
	}
	if bytes.Equal(e.Key[8:], e.End[8:]) {
		return false, nil
	}
	_, there, err := c.get(t, Element{Set: hosted, Key: e.Key[:8]})
	return there, err
}
