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

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/forwardrules"
	"github.com/catena-cni/catena/internal/firewall/nft/wire"
)

// Where the kernel enters our chains. Destination NAT comes after everybody
// who uses the customary priority -100, such as the rules of Kubernetes
// Services: a host port must not take what is theirs (CVE-2019-9946).
var (
	rawPrerouting  = &wire.Hook{Type: "filter", Number: unix.NF_INET_PRE_ROUTING, Priority: -300}
	natPrerouting  = &wire.Hook{Type: "nat", Number: unix.NF_INET_PRE_ROUTING, Priority: -95}
	natOutput      = &wire.Hook{Type: "nat", Number: unix.NF_INET_LOCAL_OUT, Priority: -95}
	natPostrouting = &wire.Hook{Type: "nat", Number: unix.NF_INET_POST_ROUTING, Priority: 100}
	filterForward  = &wire.Hook{Type: "filter", Number: unix.NF_INET_FORWARD, Priority: 0}
	beforeForward  = &wire.Hook{Type: "filter", Number: unix.NF_INET_FORWARD, Priority: -1000} // whatever others
	afterForward   = &wire.Hook{Type: "filter", Number: unix.NF_INET_FORWARD, Priority: 1000}  // have there
	bridgePre      = &wire.Hook{Type: "filter", Number: 0, Priority: -300}                     // NF_BR_PRE_ROUTING
	bridgeForward  = &wire.Hook{Type: "filter", Number: 2, Priority: -200}                     // NF_BR_FORWARD
)

// DefaultMarkBit is the bit of a packet's mark that says, between prerouting
// and postrouting, that a connection to a host port is to be masqueraded. It
// is the one that upstream uses.
const DefaultMarkBit = 13

// forwardBit is the bit of a packet's mark that says, while it is being forwarded,
// that it is of a pod that Forward lets through.
const forwardBit = forwardrules.MarkBit

const tableComment = "CNI plugins: pods are members of the sets, see their comments"

// Types of keys. What tells most members apart comes first: the kernel removes a
// member by comparing it with all that came before it, field by field.
var (
	types    = func(t ...wire.Datatype) []wire.Datatype { return t }
	port     = types(wire.InetService, wire.InetProto)
	port4    = append(slices.Clip(port), wire.IPv4Addr)
	port6    = append(slices.Clip(port), wire.IPv6Addr)
	to4      = types(wire.IPv4Addr, wire.InetService)
	to6      = types(wire.IPv6Addr, wire.InetService)
	ifname   = types(wire.IfNameType)
	twoLinks = types(wire.IfNameType, wire.IfNameType)
)

// portSets are the maps of host ports.
func portSets(suffix string) []wire.Set {
	return []wire.Set{
		{Name: "hostports4" + suffix, Key: port, Data: to4},
		{Name: "hostports6" + suffix, Key: port, Data: to6},
		{Name: "addrports4" + suffix, Key: port4, Data: to4},
		{Name: "addrports6" + suffix, Key: port6, Data: to6},
	}
}

var inet = &table{
	Table: wire.Table{Family: unix.NFPROTO_INET, Name: "catena"}, comment: tableComment,
	sets: append(portSets(""), []wire.Set{
		{Name: "addrports", Key: port},
		{Name: "masq4", Key: types(wire.IPv4Addr)},
		{Name: "masq6", Key: types(wire.IPv6Addr)},
		{Name: "localnet", Key: ifname},
		{Name: "forward4", Key: types(wire.IPv4Addr)},
		{Name: "forward6", Key: types(wire.IPv6Addr)},
		{Name: "bridges", Key: ifname},
		{Name: "samebridge", Key: twoLinks},
		{Name: "isolated", Key: twoLinks},
		{Name: samebridgeRefs, Key: twoLinks, Data: types(wire.VerdictType)},
		{Name: isolatedRefs, Key: twoLinks, Data: types(wire.VerdictType)},
	}...),
	bySize: []wire.Set{
		{Name: "hairpin4", Key: types(wire.IPv4Addr, wire.InetService, wire.InetProto)},
		{Name: "hairpin6", Key: types(wire.IPv6Addr, wire.InetService, wire.InetProto)},
		{Name: "addrhairpin4", Key: types(wire.IPv4Addr, wire.InetService, wire.InetProto, wire.IPv4Addr)},
		{Name: "addrhairpin6", Key: types(wire.IPv6Addr, wire.InetService, wire.InetProto, wire.IPv6Addr)},
		{Name: "samesubnet4", Key: types(wire.IPv4Addr, wire.IPv4Addr)},
		{Name: "samesubnet6", Key: types(wire.IPv6Addr, wire.IPv6Addr)},
	},
	chains: inetChains,
}

func inetChains() []chain {
	match, one := wire.Match, wire.One
	iif, oif := wire.Meta(unix.NFT_META_IIFNAME, wire.Reg(0)), wire.Meta(unix.NFT_META_OIFNAME, wire.Reg(0))
	links := one(iif, wire.Meta(unix.NFT_META_OIFNAME, wire.Reg(4)))
	toLoopback4, toLoopback6 := ipv4.within(ipv4.daddr, "127.0.0.0/8"), ipv6.within(ipv6.daddr, "::1/128")
	fromLocalnet := one(iif, wire.Lookup("localnet", wire.Reg(0)))
	return []chain{
		{name: "hairpin", grows: true},
		{name: "samesubnet", grows: true},
		{name: "profiles", grows: true},
		{name: "marks", grows: true},
		{name: "ports", rules: append([]wire.Rule{match(one(wire.Jump("profiles"))), match(one(wire.Jump("hairpin")))}, portRules("", staticIDs)...)},
		{name: "localnet", hook: rawPrerouting, rules: []wire.Rule{
			match(fromLocalnet, toLoopback4, one(wire.Drop())),
			match(fromLocalnet, ipv4.within(ipv4.saddr, "127.0.0.0/8"), one(wire.Drop())),
		}},
		{name: "prerouting", hook: natPrerouting, rules: []wire.Rule{
			// On the wire nothing is for a loopback: a neighbour would reach by it
			// what is to be at the host's own 127.0.0.1 alone.
			match(toLoopback4, one(wire.Return())),
			match(toLoopback6, one(wire.Return())),
			match(wire.LocalDestination(), one(wire.Jump("ports"))),
		}},
		{name: "output", hook: natOutput, rules: []wire.Rule{
			// Nothing can answer to ::1, so who asks there is better refused
			// than left waiting.
			match(toLoopback6, one(wire.Return())),
			match(wire.LocalDestination(), one(wire.Jump("ports"))),
		}},
		{name: "postrouting", hook: natPostrouting, rules: []wire.Rule{
			masqueradeMarked(DefaultMarkBit),
			match(one(wire.Jump("marks"))),
			match(one(wire.Jump("samesubnet"))),
			match(ipv4.within(ipv4.daddr, "224.0.0.0/4"), one(wire.Return())),
			match(ipv6.within(ipv6.daddr, "ff00::/8"), one(wire.Return())),
			match(ipv4.has(ipv4.saddr, "masq4", wire.Masquerade())),
			match(ipv6.has(ipv6.saddr, "masq6", wire.Masquerade())),
		}},
		{name: "markforward", hook: beforeForward, rules: []wire.Rule{
			match(ipv4.has(ipv4.saddr, "forward4"), mark(forwardBit)),
			match(ipv4.has(ipv4.daddr, "forward4"), mark(forwardBit)),
			match(ipv6.has(ipv6.saddr, "forward6"), mark(forwardBit)),
			match(ipv6.has(ipv6.daddr, "forward6"), mark(forwardBit)),
		}},
		{name: "unmarkforward", hook: afterForward, rules: []wire.Rule{match(marked(forwardBit), unmark(forwardBit))}},
		{name: "bridges", rules: []wire.Rule{
			match(links, one(wire.Lookup("isolated", wire.Reg(0)), wire.Drop())),
			match(links, one(wire.Lookup("samebridge", wire.Reg(0)), wire.Return())),
			match(one(iif, wire.Lookup("bridges", wire.Reg(0)), oif, wire.Lookup("bridges", wire.Reg(0)), wire.Drop())),
		}},
		{name: "forward", hook: filterForward, rules: []wire.Rule{
			match(one(wire.Jump("bridges"))),
			// What conntrack cannot place is not masqueraded, and would leave
			// the host under the pod's own address.
			match(invalid(), one(wire.Jump("samesubnet"))),
			match(invalid(), ipv4.has(ipv4.saddr, "masq4", wire.Drop())),
			match(invalid(), ipv6.has(ipv6.saddr, "masq6", wire.Drop())),
		}},
	}
}

var bridge = &table{
	Table: wire.Table{Family: unix.NFPROTO_BRIDGE, Name: "catena"}, comment: tableComment,
	sets: []wire.Set{
		{Name: "guarded", Key: ifname},
		{Name: "macs", Key: types(wire.IfNameType, wire.EtherAddr)},
		{Name: "isolated", Key: ifname},
	},
	chains: func() []chain {
		// The offsets in the headers of Ethernet and ARP, which says a second time who has sent it.
		const etherSource, arpSource = 6, 8
		iif, oif := wire.Meta(unix.NFT_META_IIFNAME, wire.Reg(0)), wire.Meta(unix.NFT_META_OIFNAME, wire.Reg(0))
		guarded, forged := wire.One(iif, wire.Lookup("guarded", wire.Reg(0))), wire.One(wire.LookupNot("macs", wire.Reg(0)), wire.Drop())
		arp := wire.One(wire.Meta(unix.NFT_META_PROTOCOL, wire.Reg(0)), wire.Compare(unix.NFT_CMP_EQ, wire.Reg(0), binary.BigEndian.AppendUint16(nil, unix.ETH_P_ARP)))
		return []chain{
			{name: "prerouting", hook: bridgePre, rules: []wire.Rule{
				wire.Match(guarded, wire.One(iif, wire.Payload(unix.NFT_PAYLOAD_LL_HEADER, etherSource, 6, wire.Reg(4))), forged),
				wire.Match(guarded, arp, wire.One(iif, wire.Payload(unix.NFT_PAYLOAD_NETWORK_HEADER, arpSource, 6, wire.Reg(4))), forged),
			}},
			{name: "forward", hook: bridgeForward, rules: []wire.Rule{wire.Match(wire.One(
				iif, wire.Lookup("isolated", wire.Reg(0)), oif, wire.Lookup("isolated", wire.Reg(0)), wire.Drop(),
			))}},
		}
	},
}

var tables = []*table{inet, bridge}
