package conditions

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
)

// field is what a condition can be about.
type field struct {
	nft      string // the words of nft for it, with commas between
	iptables string // and the options of iptables
	of       wire.Datatype
	load     []wire.Expr // it into the first register
	parse    func(text string) (value, bool)
	values   string // what parse reads, as errors say it
}

// value is what a field is compared with: a range, and the bits of it that count
// where not all do.
type value struct {
	wire.Span
	mask []byte
}

// fields are all that there are in a packet of IPv4 or IPv6. Other conditions are
// left to iptables.
func fields(six bool) []field {
	ip, address, saddr, daddr := "ip", wire.IPv4Addr, uint32(12), uint32(16)
	addresses := "an IPv4 address, 192.0.2.0/24 or 192.0.2.1-192.0.2.9"
	parseAddress := func(text string) (value, bool) { return addressOf(six, text) }
	if six {
		ip, address, saddr, daddr = "ip6", wire.IPv6Addr, 8, 24
		addresses = "an IPv6 address, 2001:db8::/32 or 2001:db8::1-2001:db8::9"
	}
	network := func(at uint32) []wire.Expr { return payload(unix.NFT_PAYLOAD_NETWORK_HEADER, at, address) }
	transport := func(at uint32) []wire.Expr { return payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, at, wire.InetService) }
	const ports, links = "a port's number, or a range of them,", "an interface's name"
	return []field{
		{ip + " saddr", "-s, --source, --src, --src-range", address, network(saddr), parseAddress, addresses},
		{ip + " daddr", "-d, --destination, --dst, --dst-range", address, network(daddr), parseAddress, addresses},
		{"meta l4proto, l4proto, " + ip + " protocol, " + ip + " nexthdr", "-p, --protocol, --proto", wire.InetProto, meta(unix.NFT_META_L4PROTO), parseProtocol, "tcp, udp, sctp or a protocol's number"},
		{"th sport, tcp sport, udp sport, sctp sport", "--sport, --sports, --source-port, --source-ports", wire.InetService, transport(0), parsePort, ports},
		{"th dport, tcp dport, udp dport, sctp dport", "--dport, --dports, --destination-port, --destination-ports", wire.InetService, transport(2), parsePort, ports},
		{"iifname, iif, meta iifname, meta iif", "-i, --in-interface", wire.IfNameType, meta(unix.NFT_META_IIFNAME), parseLink, links},
		{"oifname, oif, meta oifname, meta oif", "-o, --out-interface", wire.IfNameType, meta(unix.NFT_META_OIFNAME), parseLink, links},
		{"meta mark, mark", "--mark", wire.MarkType, meta(unix.NFT_META_MARK), parseMark, "a mark, 0 to 0xffffffff,"},
		{"ct state", "--ctstate, --state", wire.CtState, wire.One(wire.ConntrackState()), parseState, "new, established, related, invalid or untracked"},
		{"ether saddr", "--mac-source", wire.EtherAddr, etherSource(), parseMAC, "a hardware address"},
	}
}

func payload(header, at uint32, of wire.Datatype) []wire.Expr {
	return wire.One(wire.Payload(header, at, of.Size, wire.Reg(0)))
}

func meta(key uint32) []wire.Expr { return wire.One(wire.Meta(key, wire.Reg(0))) }

// etherSource is there where the packet comes from an Ethernet link.
func etherSource() []wire.Expr {
	ethernet := binary.NativeEndian.AppendUint16(nil, unix.ARPHRD_ETHER)
	return append(append(meta(unix.NFT_META_IIFTYPE), wire.Compare(unix.NFT_CMP_EQ, wire.Reg(0), ethernet)),
		payload(unix.NFT_PAYLOAD_LL_HEADER, 6, wire.EtherAddr)...)
}

// addressOf reads an address, a prefix or a range of addresses.
func addressOf(six bool, text string) (v value, ok bool) {
	if p, err := netip.ParsePrefix(text); err == nil {
		v.First, v.mask = p.Masked().Addr().AsSlice(), net.CIDRMask(p.Bits(), p.Addr().BitLen())
		for i, m := range v.mask {
			v.Last = append(v.Last, v.First[i]|^m)
		}
		return v, p.Addr().Is6() == six
	}
	first, last, ranged := strings.Cut(text, "-")
	if !ranged {
		last = first
	}
	a, aerr := netip.ParseAddr(first)
	z, zerr := netip.ParseAddr(last)
	v.First, v.Last = a.AsSlice(), z.AsSlice()
	return v, aerr == nil && zerr == nil && a.Is6() == six && z.Is6() == six && a.Zone()+z.Zone() == "" && !z.Less(a)
}

var protocols = map[string]byte{
	"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP, "icmp": unix.IPPROTO_ICMP,
	"icmpv6": unix.IPPROTO_ICMPV6, "ipv6-icmp": unix.IPPROTO_ICMPV6, "udplite": unix.IPPROTO_UDPLITE, "dccp": unix.IPPROTO_DCCP,
}

func parseProtocol(text string) (value, bool) {
	if number, ok := protocols[text]; ok {
		return only([]byte{number}), true
	}
	n, err := strconv.ParseUint(text, 10, 8)
	return only([]byte{byte(n)}), err == nil
}

// parsePort reads a port or a range of them, with '-' or ':' between.
func parsePort(text string) (v value, ok bool) {
	first, last, ranged := strings.Cut(strings.Replace(text, ":", "-", 1), "-")
	if !ranged {
		last = first
	}
	a, aerr := strconv.ParseUint(first, 10, 16)
	z, zerr := strconv.ParseUint(last, 10, 16)
	v.First, v.Last = binary.BigEndian.AppendUint16(nil, uint16(a)), binary.BigEndian.AppendUint16(nil, uint16(z))
	return v, aerr == nil && zerr == nil && a <= z
}

// parseLink reads a link's name, or what it begins with before a wildcard.
func parseLink(text string) (value, bool) {
	name, wild := strings.CutSuffix(strings.Trim(text, `"`), "*")
	ok := name != "" && len(name) < unix.IFNAMSIZ && !strings.ContainsAny(name, `/:*+"`)
	if wild {
		return only([]byte(name)), ok
	}
	return only(wire.IfName(name)), ok
}

// parseMark reads a mark. It is compared in the machine's byte order.
func parseMark(text string) (value, bool) {
	n, err := strconv.ParseUint(text, 0, 32)
	return only(wire.Native(uint32(n))), err == nil
}

// states are bits of the kernel's NF_CT_STATE_BIT, of which a packet has one.
var states = map[string]uint32{"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}

func parseState(text string) (value, bool) {
	bit, ok := states[strings.ToLower(text)]
	return only(wire.Native(bit)), ok
}

func parseMAC(text string) (value, bool) {
	mac, err := net.ParseMAC(text)
	return only(mac), err == nil && len(mac) == int(wire.EtherAddr.Size)
}

func only(b []byte) value { return value{Span: wire.Only(b)} }
