package nft

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Single host ports are members of hash maps and sets: what one costs to add, to
// find and to remove is the same whatever the number of others. In a set with
// ranges it grows with them. Only rows of many ports are worth one.
//
//	port4     host ports at every address of the host, and what they lead to
//	portat4   those at one address alone
//	near4_24, nearat4_24
//	          the same ports, behind the network of 24 bits whose connections to
//	          them are masqueraded; there is one such set for each length of a
//	          network's prefix, made with the first member that needs it
//
// A port may be in one of port4, portat4 and dnat4 alone, unless all are of one
// container's: see claim.go.

// row is from how many ports on a row of them is one member of a set with
// ranges. It bounds how long those sets become.
const row = 16

// singleSets and atSets are the maps of single host ports.
var singleSets = []set{
	{name: "port4", key: []datatype{inetService, inetProto}, data: []datatype{ipv4Addr, inetService}},
	{name: "port6", key: []datatype{inetService, inetProto}, data: []datatype{ipv6Addr, inetService}},
}

var atSets = []set{
	{name: "portat4", key: port4, data: []datatype{ipv4Addr, inetService}},
	{name: "portat6", key: port6, data: []datatype{ipv6Addr, inetService}},
}

// nearSets are the patterns of the sets of sources, without the length.
var nearSets = []set{
	{name: "near4", key: []datatype{ipv4Addr, inetService, inetProto}},
	{name: "near6", key: []datatype{ipv6Addr, inetService, inetProto}},
	{name: "nearat4", key: []datatype{ipv4Addr, inetService, inetProto, ipv4Addr}},
	{name: "nearat6", key: []datatype{ipv6Addr, inetService, inetProto, ipv6Addr}},
}

// claim is the port in its map.
func (m Mapping) claim(suffix string) Element {
	key, where, at := m.at()
	return Element{
		Set: "port" + at + version(m.Host) + suffix, Key: key, Data: fields(m.Pod.Addr().AsSlice(), be16(m.PodPort)),
		Text: fmt.Sprintf("%s : %v . %d", where, m.Pod.Addr(), m.PodPort),
	}
}

// at is where the host has the port: a key, its text, and what the names of the
// sets that know an address have in them.
func (m Mapping) at() (key []byte, text, at string) {
	key, text = fields(be16(m.HostPort), []byte{m.Protocol}), fmt.Sprintf("%d . %s", m.HostPort, protocolName(m.Protocol))
	if m.Host.IsUnspecified() {
		return key, text, ""
	}
	return append(key, m.Host.AsSlice()...), fmt.Sprintf("%s . %v", text, m.Host), "at"
}

// masqueraded is the port behind each of the networks.
func (m Mapping) masqueraded(sources []netip.Prefix, suffix string) (out []Element) {
	key, where, at := m.at()
	for _, s := range sources {
		out = append(out, Element{
			Set: fmt.Sprintf("near%s%s_%d%s", at, version(m.Host), s.Bits(), suffix),
			Key: append(s.Addr().AsSlice(), key...), Text: fmt.Sprintf("%v . %s", s.Addr(), where),
		})
	}
	return out
}

// part is messages that make something which stays. The first is refused where
// it is there already, so that of two who make it at once its rules come in only
// once.
type part []message

// partOf makes the set of that name and the rule that looks into it, if neither
// the static part nor a profile does. Numbers of anonymous sets begin at id.
func (t *table) partOf(name string, p *Profile, id uint32) part {
	base, rest, found := strings.Cut(name, "_")
	s, err := t.setNamed(name)
	if err != nil || !found {
		return nil
	}
	s.name = name
	switch {
	case strings.HasPrefix(base, "near"):
		return t.nearPart(s, base, rest, p)
	case strings.HasPrefix(base, "port"):
		return append(t.first(s), t.append("ports_"+rest, singleRule(base, "_"+rest, id))...)
	}
	return nil
}

// first makes a set that must not be there.
func (t *table) first(s set) part {
	m := t.newSet(s, partIDs)
	m.flags |= unix.NLM_F_EXCL
	return part{m}
}

// nearPart is a set of sources. Its rule comes before those of its chain that
// lead elsewhere.
func (t *table) nearPart(s set, base, rest string, p *Profile) part {
	chain, markBit := "near", DefaultMarkBit
	length, suffix, profiled := strings.Cut(rest, "_")
	if profiled {
		if p == nil || p.Suffix != "_"+suffix {
			return nil
		}
		chain, markBit = "ports_"+suffix, p.MarkBit
	}
	bits, err := strconv.Atoi(length)
	if err != nil || bits < 0 || bits > 8*int(s.key[0].size) {
		return nil
	}
	r := t.newRule(chain, nearRule(base, s.name, bits, markBit))
	r.flags &^= unix.NLM_F_APPEND
	return append(t.first(s), r)
}

// nearRule marks what comes from a network to one of its ports.
func nearRule(base, name string, bits, markBit int) rule {
	family, _, saddr, _, size := familyOf(base)
	load := address(saddr, size)
	if mask := net.CIDRMask(bits, 8*int(size)); bits < 8*int(size) {
		load = append(load, bitwise(reg(0), size, mask, make([]byte, size)))
	}
	return match(family, load, single(base, int(size/4)), one(lookup(name, reg(0))), mark(markBit))
}

// singleRule leads single host ports to pods.
func singleRule(base, suffix string, id uint32) rule {
	family, number, _, _, size := familyOf(base)
	to := dnat(number, reg(0), reg(int(size/4)))
	return transport(id, family, single(base, 0), one(lookupInto(base+suffix, reg(0), reg(0)), to))
}

// single loads what sets of single ports know of a packet's destination.
func single(base string, at int) []expr {
	_, _, _, daddr, size := familyOf(base)
	load := portInto(at, daddr, size)
	if strings.Contains(base, "at") {
		return load
	}
	return load[:2]
}

// parts are what the members need beside the static part.
func (m Members) parts() (all []part) {
	if m.profile != nil {
		all = append(all, m.profile.parts)
	}
	made := map[string]bool{}
	for _, e := range m.Elements {
		if made[e.Set] {
			continue
		}
		made[e.Set] = true
		if p := m.table.partOf(e.Set, m.profile, partIDs+uint32(len(made))); p != nil {
			all = append(all, p)
		}
	}
	return all
}
