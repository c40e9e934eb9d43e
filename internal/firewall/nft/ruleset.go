// Package nft owns the nftables tables "inet catena" and "bridge catena": static
// rules, and sets and maps whose members belong to attachments. Rules never
// come and go, members do, so that what a pod or a port costs does not depend
// on how many there are.
//
// The static part stands a second time, as people read it, in testdata/*.nft.
package nft

import (
	"encoding/binary"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Where the kernel enters our chains. Destination NAT comes after everybody
// who uses the customary priority -100, such as the rules of Kubernetes
// Services: a host port must not take what is theirs (CVE-2019-9946).
var (
	rawPrerouting  = &hook{"filter", unix.NF_INET_PRE_ROUTING, -300}
	natPrerouting  = &hook{"nat", unix.NF_INET_PRE_ROUTING, -95}
	natOutput      = &hook{"nat", unix.NF_INET_LOCAL_OUT, -95}
	natPostrouting = &hook{"nat", unix.NF_INET_POST_ROUTING, 100}
	filterForward  = &hook{"filter", unix.NF_INET_FORWARD, 0}
	beforeForward  = &hook{"filter", unix.NF_INET_FORWARD, -1000} // whatever others
	afterForward   = &hook{"filter", unix.NF_INET_FORWARD, 1000}  // have there
	bridgePre      = &hook{"filter", 0, -300}                     // NF_BR_PRE_ROUTING
	bridgeForward  = &hook{"filter", 2, -200}                     // NF_BR_FORWARD
)

// Offsets of the addresses in the IP headers, and of the source address in the
// Ethernet header.
const (
	saddr4, daddr4 = 12, 16
	saddr6, daddr6 = 8, 24
	etherSource    = 6
)

// DefaultMarkBit is the bit of a packet's mark that says, between prerouting
// and postrouting, that a connection to a host port is to be masqueraded. It
// is the one that upstream uses.
const DefaultMarkBit = 13

// admitBit is the bit of a packet's mark that says, while it is being forwarded,
// that it is of a pod that Forward admits. It tells the chains of others, which
// cannot look into our sets.
const admitBit = 12

var inet = &table{
	family: unix.NFPROTO_INET, name: "catena", comment: "CNI plugins: pods are members of the sets, see their comments",
	sets: [][]set{singleSets, atSets, claimSets, snatSets, {
		{name: "masq4", key: []datatype{ipv4Addr}},
		{name: "masq6", key: []datatype{ipv6Addr}},
		{name: "same4", key: []datatype{ipv4Addr, ipv4Addr}, interval: true},
		{name: "same6", key: []datatype{ipv6Addr, ipv6Addr}, interval: true},
		{name: hosted, key: []datatype{inetService, inetProto}},
		{name: "localnet", key: []datatype{ifnameType}},
		{name: "admit4", key: []datatype{ipv4Addr}},
		{name: "admit6", key: []datatype{ipv6Addr}},
		{name: "bridges", key: []datatype{ifnameType}},
		{name: "within", key: []datatype{ifnameType, ifnameType}},
		{name: "isolated", key: []datatype{ifnameType, ifnameType}},
		{name: holders, key: []datatype{ifnameType, ifnameType}, data: []datatype{verdictType}},
		{name: loners, key: []datatype{ifnameType, ifnameType}, data: []datatype{verdictType}},
	}},
	patterns: nearSets,
	chains: func() []chain {
		return []chain{
			// What the sources of masquerading and profiles add to the static
			// part: see single.go and profile.go.
			{name: "near", grows: true},
			{name: "profiles", grows: true},
			{name: "marks", grows: true},
			{name: "ports", rules: slices.Concat(
				[]rule{match(one(jump("profiles"))), match(one(jump("near")))}, portRules("", "", DefaultMarkBit, staticIDs),
				[]rule{singleRule("port4", "", staticIDs+4), singleRule("port6", "", staticIDs+5)},
			)},
			{name: "martians", hook: rawPrerouting, rules: []rule{
				match(one(meta(unix.NFT_META_IIFNAME, reg(0)), lookup("localnet", reg(0))), family4(),
					loopback4(daddr4), one(drop())),
				match(one(meta(unix.NFT_META_IIFNAME, reg(0)), lookup("localnet", reg(0))), family4(),
					loopback4(saddr4), one(drop())),
			}},
			{name: "prerouting", hook: natPrerouting, rules: []rule{match(localDestination(), one(jump("ports")))}},
			{name: "output", hook: natOutput, rules: []rule{
				// Nothing can answer to ::1, so who asks there is better refused
				// than left waiting.
				match(family6(), one(payload(unix.NFT_PAYLOAD_NETWORK_HEADER, daddr6, 16, reg(0)),
					cmp(unix.NFT_CMP_EQ, reg(0), loopback6), leave())),
				match(localDestination(), one(jump("ports"))),
			}},
			{name: "postrouting", hook: natPostrouting, rules: []rule{
				masqueradeMarked(DefaultMarkBit),
				match(one(jump("marks"))),
				match(between("same4", leave())),
				match(between("same6", leave())),
				match(family4(), multicast4(), one(leave())),
				match(family6(), multicast6(), one(leave())),
				match(source("masq4", masquerade())),
				match(source("masq6", masquerade())),
			}},
			{name: "admit", hook: beforeForward, rules: []rule{
				match(source("admit4"), mark(admitBit)),
				match(destination("admit4"), mark(admitBit)),
				match(source("admit6"), mark(admitBit)),
				match(destination("admit6"), mark(admitBit)),
			}},
			{name: "unmark", hook: afterForward, rules: []rule{match(marked(admitBit), unmark(admitBit))}},
			{name: "between", rules: []rule{
				match(inOut(), one(lookup("isolated", reg(0)), drop())),
				match(inOut(), one(lookup("within", reg(0)), leave())),
				match(one(meta(unix.NFT_META_IIFNAME, reg(0)), lookup("bridges", reg(0)),
					meta(unix.NFT_META_OIFNAME, reg(0)), lookup("bridges", reg(0)), drop())),
			}},
			{name: "forward", hook: filterForward, rules: []rule{
				match(one(jump("between"))),
				// What conntrack cannot place is not masqueraded, and would leave
				// the host under the pod's own address.
				match(invalid(), between("same4", leave())),
				match(invalid(), between("same6", leave())),
				match(invalid(), source("masq4", drop())),
				match(invalid(), source("masq6", drop())),
			}},
		}
	},
}

var bridge = &table{
	family: unix.NFPROTO_BRIDGE, name: "catena", comment: "CNI plugins: pods are members of the sets, see their comments",
	sets: [][]set{{
		{name: "guarded", key: []datatype{ifnameType}},
		{name: "macs", key: []datatype{ifnameType, etherAddr}},
		{name: "alone", key: []datatype{ifnameType}},
	}},
	chains: func() []chain {
		return []chain{
			{name: "prerouting", hook: bridgePre, rules: []rule{
				match(one(
					meta(unix.NFT_META_IIFNAME, reg(0)), lookup("guarded", reg(0)),
					meta(unix.NFT_META_IIFNAME, reg(0)), payload(unix.NFT_PAYLOAD_LL_HEADER, etherSource, 6, reg(4)),
					lookupNot("macs", reg(0)), drop(),
				)),
			}},
			{name: "forward", hook: bridgeForward, rules: []rule{
				match(one(meta(unix.NFT_META_IIFNAME, reg(0)), lookup("alone", reg(0)),
					meta(unix.NFT_META_OIFNAME, reg(0)), lookup("alone", reg(0)), drop())),
			}},
		}
	},
}

// Numbers of the anonymous sets of a batch begin above those of the named ones:
// of the static part's, of a profile's, and of those that single.go makes.
const (
	staticIDs  = 100
	profileIDs = 200
	partIDs    = 1000
)

var tables = []*table{inet, bridge}

// claimSets are the sets of what leads where for rows of host ports: dnatN has
// the pod's address that they lead to. A former build of catena had all ports
// in them, and in shiftN the pod's port where it is another; what it has left
// there stays as long as its pods.
var claimSets = []set{
	{name: "dnat4", key: port4, data: []datatype{ipv4Addr}, interval: true},
	{name: "dnat6", key: port6, data: []datatype{ipv6Addr}, interval: true},
	{name: "shift4", key: port4, data: []datatype{ipv4Addr, inetService}, interval: true},
	{name: "shift6", key: port6, data: []datatype{ipv6Addr, inetService}, interval: true},
}

// snatSets say from where a connection to a host port must be masqueraded for
// its answers to find back.
var snatSets = []set{
	{name: "snat4", key: []datatype{inetService, inetProto, ipv4Addr, ipv4Addr}, interval: true},
	{name: "snat6", key: []datatype{inetService, inetProto, ipv6Addr, ipv6Addr}, interval: true},
}

// What tells most members apart comes first: the kernel removes a member by
// comparing it with all that came before it, field by field.
var (
	port4 = []datatype{inetService, inetProto, ipv4Addr}
	port6 = []datatype{inetService, inetProto, ipv6Addr}
)

// portRules mark and redirect what is for a host port: one at an address before
// those at all of them, and a row before single ports. The numbers of their
// anonymous sets begin at id.
func portRules(dnatSuffix, snatSuffix string, markBit int, id uint32) []rule {
	rules := append(markRules(snatSuffix, markBit), singleRule("portat4", dnatSuffix, id+2), singleRule("portat6", dnatSuffix, id+3))
	for i, base := range []string{"shift4", "shift6"} {
		match, number, _, daddr, size := familyOf(base)
		rules = append(rules, transport(id+uint32(i), match, port(daddr, size), one(
			lookupInto(base+dnatSuffix, reg(0), reg(0)), dnat(number, reg(0), reg(int(size/4))))))
	}
	for _, base := range []string{"dnat4", "dnat6"} {
		ofFamily, number, _, daddr, size := familyOf(base)
		rules = append(rules, match(ofFamily, port(daddr, size), one(lookupInto(base+dnatSuffix, reg(0), reg(0)), dnat(number, reg(0), 0))))
	}
	return rules
}

// markRules mark what is to be masqueraded on its way to a host port.
func markRules(suffix string, markBit int) (rules []rule) {
	for _, base := range []string{"snat4", "snat6"} {
		ofFamily, _, saddr, daddr, size := familyOf(base)
		source := payload(unix.NFT_PAYLOAD_NETWORK_HEADER, saddr, size, reg(2+int(size/4)))
		rules = append(rules, match(ofFamily, port(daddr, size), one(source, lookup(base+suffix, reg(0))), mark(markBit)))
	}
	return rules
}

// transport is a rule for the protocols that have ports. Only such a rule may
// change one.
func transport(id uint32, parts ...[]expr) rule {
	r := match(append([][]expr{one(meta(unix.NFT_META_L4PROTO, reg(0)), lookupAnonymous(id, reg(0)))}, parts...)...)
	r.anon = []anonymous{{id, inetProto, []span{
		only([]byte{unix.IPPROTO_TCP}), only([]byte{unix.IPPROTO_UDP}), only([]byte{unix.IPPROTO_SCTP}),
	}}}
	return r
}

func address(offset, size uint32) []expr {
	return one(payload(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, size, reg(0)))
}

// source, destination and between match the packets whose address, or pair of
// addresses, a set has.
func source(set string, then ...expr) []expr {
	match, _, saddr, _, size := familyOf(set)
	return slices.Concat(match, address(saddr, size), one(lookup(set, reg(0))), then)
}

func destination(set string, then ...expr) []expr {
	match, _, _, daddr, size := familyOf(set)
	return slices.Concat(match, address(daddr, size), one(lookup(set, reg(0))), then)
}

func between(set string, then ...expr) []expr {
	match, _, saddr, daddr, size := familyOf(set)
	second := payload(unix.NFT_PAYLOAD_NETWORK_HEADER, daddr, size, reg(int(size/4)))
	return slices.Concat(match, address(saddr, size), one(second, lookup(set, reg(0))), then)
}

// familyOf is about the family that the name of a set ends in, but for a
// suffix: how it is matched, its number, and where its addresses are and how
// large.
func familyOf(set string) (match []expr, number uint8, saddr, daddr, size uint32) {
	if strings.HasSuffix(set, "6") {
		return family6(), unix.NFPROTO_IPV6, saddr6, daddr6, 16
	}
	return family4(), unix.NFPROTO_IPV4, saddr4, daddr4, 4
}

// port loads destination port, protocol and destination address.
func port(daddr, size uint32) []expr { return portInto(0, daddr, size) }

func portInto(at int, daddr, size uint32) []expr {
	return one(
		payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, reg(at)),
		meta(unix.NFT_META_L4PROTO, reg(at+1)),
		payload(unix.NFT_PAYLOAD_NETWORK_HEADER, daddr, size, reg(at+2)),
	)
}

func mark(bit int) []expr {
	m := uint32(1) << bit
	return one(meta(unix.NFT_META_MARK, reg(0)), bitwise(reg(0), 4, native(^m), native(m)), setMark(reg(0)))
}

func unmark(bit int) []expr {
	return one(meta(unix.NFT_META_MARK, reg(0)), bitwise(reg(0), 4, native(^(uint32(1)<<bit)), native(0)), setMark(reg(0)))
}

// marked matches packets with the bit.
func marked(bit int) []expr {
	m := native(uint32(1) << bit)
	return one(meta(unix.NFT_META_MARK, reg(0)), bitwise(reg(0), 4, m, native(0)), cmp(unix.NFT_CMP_EQ, reg(0), m))
}

func masqueradeMarked(bit int) rule { return match(marked(bit), one(masquerade())) }

// inOut loads the names of the links that a packet comes from and goes to.
func inOut() []expr {
	return one(meta(unix.NFT_META_IIFNAME, reg(0)), meta(unix.NFT_META_OIFNAME, reg(4)))
}

func loopback4(offset uint32) []expr {
	return one(payload(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, 1, reg(0)), cmp(unix.NFT_CMP_EQ, reg(0), []byte{127}))
}

var loopback6 = append(make([]byte, 15), 1)

func multicast4() []expr {
	return one(payload(unix.NFT_PAYLOAD_NETWORK_HEADER, daddr4, 4, reg(0)),
		bitwise(reg(0), 4, []byte{0xf0, 0, 0, 0}, native(0)), cmp(unix.NFT_CMP_EQ, reg(0), []byte{224, 0, 0, 0}))
}

func multicast6() []expr {
	return one(payload(unix.NFT_PAYLOAD_NETWORK_HEADER, daddr6, 1, reg(0)), cmp(unix.NFT_CMP_EQ, reg(0), []byte{0xff}))
}

func be16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
