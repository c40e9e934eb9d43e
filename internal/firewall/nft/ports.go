package nft

import (
	"fmt"
	"math"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/conntrack"
	"github.com/catena-cni/catena/internal/lists"
	"github.com/catena-cni/catena/internal/state/name"
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

// portClaims are those of all ports: facts with functions of their own would be
// the same as no other.
var portClaims = &claims{conn.holder, conn.contested, Members.recorded, Members.parts, func(m Members) []Element {
	return portElements(m.mappings, m.from, m.profile, math.MaxInt)
}}

// Ports are host ports that lead to a pod. They belong to one pod at a time. The
// mappings are as Merge gives them.
func Ports(owner name.Attachment, mappings []Mapping, from Sources, p *Profile) Members {
	m := Members{
		Owner: owner, Kind: KindPorts, Exclusive: true, table: inet, profile: p, claims: portClaims,
		mappings: mappings, from: from,
	}
	m.Elements = portElements(mappings, from, p, row)
	return m
}

// portElements are the members for host ports, with as many in a row as one
// member.
func portElements(mappings []Mapping, from Sources, p *Profile, row int) (out []Element) {
	shifts := func(m Mapping) bool { return m.HostPort != m.PodPort }
	for _, r := range runs(mappings, func(first, m Mapping) bool { return shifts(first) == shifts(m) }) {
		if len(r.all) >= row && !shifts(r.Mapping) {
			out = append(out, r.claim(p.claimSuffix()))
			continue
		}
		for _, one := range r.all {
			out = append(out, one.claim(p.claimSuffix()))
		}
	}
	for _, r := range runs(mappings, func(first, m Mapping) bool { return true }) {
		out = append(out, r.masqueraded(r.sources(from), p.snatSuffix(), row)...)
		out = append(out, r.hint()...)
	}
	return out
}

// Merge orders mappings and drops those that others imply. A port at one address
// may lead elsewhere than at all others; else two that lead one port to two
// places are an error.
func Merge(mappings []Mapping) (out []Mapping, err error) {
	type where struct {
		protocol uint8
		host     netip.Addr
		port     uint16
	}
	taken := map[where]Mapping{}
	ordered := slices.Clone(mappings)
	lists.Stable(ordered, byPort)
	for _, m := range ordered {
		at := where{m.Protocol, m.Host, m.HostPort}
		everywhere := at
		everywhere.host = netip.PrefixFrom(m.Host, 0).Masked().Addr()
		before, found := taken[at]
		wider, implied := taken[everywhere]
		switch {
		case !found && !(implied && wider.PodPort == m.PodPort):
			taken[at] = m
			out = append(out, m)
		case found && before.PodPort != m.PodPort:
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
	all  []Mapping
}

// runs joins mappings of ports that follow one another, as far as the later one
// fits the first.
func runs(mappings []Mapping, fits func(first, m Mapping) bool) (out []run) {
	for i, m := range mappings {
		if n := len(out) - 1; n >= 0 && out[n].last+1 == m.HostPort && m.HostPort != 0 &&
			out[n].Protocol == m.Protocol && out[n].Host == m.Host && fits(out[n].Mapping, m) {
			out[n].last = m.HostPort
			out[n].all = mappings[i-len(out[n].all) : i+1]
			continue
		}
		out = append(out, run{m, m.HostPort, mappings[i : i+1]})
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

// claim is the run in a map, without other ports of the pod's.
func (r run) claim(suffix string) Element {
	first, end, text := r.key()
	pod := r.Pod.Addr()
	return Element{Set: "dnat" + version(r.Host) + suffix, Key: first, End: end, Data: pod.AsSlice(), Text: fmt.Sprintf("%s : %v", text, pod)}
}

// loopback is where the host's own connections to 127.0.0.1 come from.
var loopback = netip.MustParsePrefix("127.0.0.0/8")

// sources are the networks whose connections are masqueraded.
func (m Mapping) sources(from Sources) []netip.Prefix {
	switch subnet := m.Pod.Masked(); {
	case from == AllSources:
		return []netip.Prefix{netip.PrefixFrom(subnet.Addr(), 0).Masked()}
	case from == LocalSources && subnet.Addr().Is4() && !subnet.Overlaps(loopback):
		return []netip.Prefix{subnet, loopback}
	case from == LocalSources:
		return []netip.Prefix{subnet}
	}
	return nil
}

// masqueraded is the run in the sets of what the networks ask for.
func (r run) masqueraded(sources []netip.Prefix, suffix string, row int) (out []Element) {
	if len(r.all) < row {
		for _, one := range r.all {
			out = append(out, one.masqueraded(sources, suffix)...)
		}
		return out
	}
	first, end, text := r.key()
	for _, s := range sources {
		out = append(out, Element{
			Set: "snat" + version(r.Host) + suffix, Key: slices.Concat(first, s.Addr().AsSlice()), End: slices.Concat(end, last(s)),
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
