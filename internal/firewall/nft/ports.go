package nft

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/conntrack"
	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/state/name"
)

// Host ports are members of hash maps and sets, one for each port: what one costs
// to add, to find and to remove is the same whatever the number of others.
//
//	hostports4     host ports at every address of the host, and what they lead to
//	addrports4     those at one address alone
//	addrports      which ports are in addrports4 or addrports6, or once were
//	hairpin4_24, addrhairpin4_24
//	               the same ports, behind the network of 24 bits whose connections
//	               to them are masqueraded; there is one such set for each length
//	               of a network's prefix, made with the first member that needs it
//
// A port may be in one of hostports4 and addrports4 alone, unless all are of one
// container's: see insertion.excludeRivals.

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
	return fmt.Sprintf("%s %v", ProtocolName(m.Protocol), netip.AddrPortFrom(m.Host, m.HostPort))
}

// HostPortName is how people write the host port: with the address only where it
// is one.
func (m Mapping) HostPortName() string {
	port := fmt.Sprint(m.HostPort)
	if !m.Host.IsUnspecified() {
		port = netip.AddrPortFrom(m.Host, m.HostPort).String()
	}
	return fmt.Sprintf("host port %s/%s", port, ProtocolName(m.Protocol))
}

// Protocols are those that have ports.
var Protocols = map[string]uint8{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP}

// ProtocolName is the name of one of them.
func ProtocolName(number uint8) string {
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
	m := Members{Owner: owner, Kind: KindPorts, table: inet, profile: p}
	for _, to := range mappings {
		m.Elements = append(m.Elements, to.port(p.portSuffix()))
	}
	for _, to := range mappings {
		for _, s := range to.Sources(from) {
			m.Elements = append(m.Elements, to.hairpin(s, p.hairpinSuffix()))
		}
		if !to.Host.IsUnspecified() {
			number := element("addrports", to.key(), "%d . %s", to.HostPort, ProtocolName(to.Protocol))
			number.Shared = true
			m.Elements = append(m.Elements, number)
		}
	}
	return m
}

// key is the port as all sets have it, portKey is its size.
func (m Mapping) key() []byte {
	return wire.Fields(binary.BigEndian.AppendUint16(nil, m.HostPort), []byte{m.Protocol})
}

const portKey = 8

// at is where the host has the port: a key, its text, and what the names of sets
// that know an address begin with.
func (m Mapping) at() (key []byte, text, base string) {
	key, text = m.key(), fmt.Sprintf("%d . %s", m.HostPort, ProtocolName(m.Protocol))
	if m.Host.IsUnspecified() {
		return key, text, ""
	}
	return append(key, m.Host.AsSlice()...), fmt.Sprintf("%s . %v", text, m.Host), "addr"
}

// port is the port in its map.
func (m Mapping) port(suffix string) Element {
	key, text, base := m.at()
	if base == "" {
		base = "host"
	}
	e := element(base+"ports"+version(m.Host)+suffix, key, "%s : %v . %d", text, m.Pod.Addr(), m.PodPort)
	e.Data = wire.Fields(m.Pod.Addr().AsSlice(), binary.BigEndian.AppendUint16(nil, m.PodPort))
	return e
}

// hairpin is the port behind a network that is masqueraded.
func (m Mapping) hairpin(source netip.Prefix, suffix string) Element {
	key, text, base := m.at()
	set := fmt.Sprintf("%shairpin%s_%d%s", base, version(m.Host), source.Bits(), suffix)
	return element(set, append(source.Addr().AsSlice(), key...), "%v . %s", source.Addr(), text)
}

// Loopback is where the host's own connections to 127.0.0.1 come from.
var Loopback = netip.MustParsePrefix("127.0.0.0/8")

// Sources are the networks whose connections are masqueraded.
func (m Mapping) Sources(from Sources) []netip.Prefix {
	switch subnet := m.Pod.Masked(); {
	case from == AllSources:
		return []netip.Prefix{netip.PrefixFrom(subnet.Addr(), 0).Masked()}
	case from == LocalSources && subnet.Addr().Is4() && !subnet.Overlaps(Loopback):
		return []netip.Prefix{subnet, Loopback}
	case from == LocalSources:
		return []netip.Prefix{subnet}
	}
	return nil
}

// mapping reads an element of the maps of host ports. Others are none.
func (e Element) mapping() (m Mapping, ok bool) {
	base, _, _ := strings.Cut(e.Set, "_")
	size := int(familyOf(base).size)
	atOne := strings.HasPrefix(base, "addrports")
	if !atOne && !strings.HasPrefix(base, "hostports") || len(e.Key) < portKey {
		return m, false
	}
	host := make([]byte, size)
	if atOne {
		copy(host, e.Key[portKey:])
	}
	m.HostPort, m.Protocol = binary.BigEndian.Uint16(e.Key), e.Key[4]
	m.Host, _ = netip.AddrFromSlice(host)
	if len(e.Data) >= size+2 {
		pod, _ := netip.AddrFromSlice(e.Data[:size])
		m.Pod, m.PodPort = netip.PrefixFrom(pod, pod.BitLen()), binary.BigEndian.Uint16(e.Data[size:])
	}
	return m, e.Set != "addrports"
}

// rival is the element beside which a host port cannot be alone. Of a port at
// every address those at one are many: addrports says whether there may be any,
// and listOfRivals where.
func (e Element) rival() wire.Element {
	if e.listOfRivals() != "" {
		return wire.Element{Set: "addrports", Key: e.Key}
	}
	return wire.Element{Set: strings.Replace(e.Set, "addr", "host", 1), Key: e.Key[:portKey]}
}

func (e Element) listOfRivals() string {
	if rest, ok := strings.CutPrefix(e.Set, "host"); ok {
		return "addr" + rest
	}
	return ""
}

// Merge orders mappings and drops those that others imply. A port at one address
// may lead elsewhere than at all others; else two that lead one port to two
// places are an error.
func Merge(mappings []Mapping) (out []Mapping, err error) {
	taken := map[Mapping]Mapping{} // by what there is of the host in it
	ordered := slices.SortedStableFunc(slices.Values(mappings), byPort)
	for _, m := range ordered {
		at := Mapping{Protocol: m.Protocol, Host: m.Host, HostPort: m.HostPort}
		everywhere := at
		everywhere.Host = netip.PrefixFrom(m.Host, 0).Masked().Addr()
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

// byPort puts ports that follow one another behind one another, and whole
// families before single addresses.
func byPort(a, b Mapping) int {
	return cmp.Or(a.Host.Compare(b.Host), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.HostPort, b.HostPort))
}

// Flows are the connections that mappings are about, for what remembers them:
// ports that follow one another, and lead to such, are one.
func Flows(mappings []Mapping) (out []conntrack.Flow) {
	for _, m := range mappings {
		if n := len(out) - 1; n >= 0 && m.follows(out[n]) {
			out[n].Last = m.HostPort
			continue
		}
		out = append(out, conntrack.Flow{
			Protocol: m.Protocol, Host: m.Host, First: m.HostPort, Last: m.HostPort, Pod: m.Pod.Addr(), PodPort: m.PodPort,
		})
	}
	return out
}

func (m Mapping) follows(f conntrack.Flow) bool {
	return m.Protocol == f.Protocol && m.Host == f.Host && m.Pod.Addr() == f.Pod &&
		int(m.HostPort) == int(f.Last)+1 && m.PodPort-f.PodPort == m.HostPort-f.First
}
