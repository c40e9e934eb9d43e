package nft

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
)

// parseAddress reads an address, a prefix or a range of addresses of a family.
func parseAddress(six bool) func(string) (wire.Span, error) {
	return func(text string) (wire.Span, error) {
		if first, end, ok := strings.Cut(text, "-"); ok {
			a, errA := netip.ParseAddr(first)
			b, errB := netip.ParseAddr(end)
			if errA != nil || errB != nil || a.Is6() != six || b.Is6() != six || b.Less(a) {
				return wire.Span{}, wrongAddress(text, six)
			}
			return wire.Span{First: a.AsSlice(), Last: b.AsSlice()}, nil
		}
		p, err := netip.ParsePrefix(text)
		if a, aErr := netip.ParseAddr(text); aErr == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || p.Addr().Is6() != six || p.Addr().Zone() != "" {
			return wire.Span{}, wrongAddress(text, six)
		}
		return wire.Span{First: p.Masked().Addr().AsSlice(), Last: last(p)}, nil
	}
}

func wrongAddress(text string, six bool) error {
	if six {
		return unknown(text, "an IPv6 address, 2001:db8::/32 or 2001:db8::1-2001:db8::9")
	}
	return unknown(text, "an IPv4 address, 192.0.2.0/24 or 192.0.2.1-192.0.2.9")
}

// parsePort reads a port or a range of them, with '-' or ':' between.
func parsePort(text string) (wire.Span, error) {
	first, end, ok := strings.Cut(strings.Replace(text, ":", "-", 1), "-")
	if !ok {
		end = first
	}
	a, errA := strconv.ParseUint(first, 10, 16)
	b, errB := strconv.ParseUint(end, 10, 16)
	if errA != nil || errB != nil || b < a {
		return wire.Span{}, unknown(text, "a port's number, or a range of them,")
	}
	return wire.Span{First: be16(uint16(a)), Last: be16(uint16(b))}, nil
}

var protocols = map[string]byte{
	"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP, "icmp": unix.IPPROTO_ICMP,
	"icmpv6": unix.IPPROTO_ICMPV6, "ipv6-icmp": unix.IPPROTO_ICMPV6, "udplite": unix.IPPROTO_UDPLITE, "dccp": unix.IPPROTO_DCCP,
}

func parseProtocol(text string) (wire.Span, error) {
	if n, ok := protocols[text]; ok {
		return wire.Only([]byte{n}), nil
	}
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil {
		return wire.Span{}, unknown(text, "tcp, udp, sctp or a protocol's number")
	}
	return wire.Only([]byte{byte(n)}), nil
}

func parseName(text string) (wire.Span, error) {
	name := strings.Trim(text, `"`)
	if name == "" || len(name) >= unix.IFNAMSIZ || strings.ContainsAny(name, "/:*+\"") {
		return wire.Span{}, unknown(text, "an interface's name")
	}
	return wire.Only(wire.IfName(name)), nil
}

func parseMAC(text string) (wire.Span, error) {
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 {
		return wire.Span{}, unknown(text, "a hardware address")
	}
	return wire.Only(mac), nil
}

// parseMark reads a mark. It is compared in the machine's byte order.
func parseMark(text string) (wire.Span, error) {
	n, err := strconv.ParseUint(text, 0, 32)
	if err != nil {
		return wire.Span{}, unknown(text, "a mark, 0 to 0xffffffff,")
	}
	return wire.Only(wire.Native(uint32(n))), nil
}

// states are bits of the kernel's NF_CT_STATE_BIT.
var states = map[string]uint32{"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}

// stateCondition is the state of the packet's connection being one of several.
func stateCondition(not bool, values []string) (condition, error) {
	var bits uint32
	for _, v := range values {
		bit, ok := states[strings.ToLower(v)]
		if !ok {
			return condition{}, unknown(v, "new, established, related, invalid or untracked")
		}
		bits |= bit
	}
	if bits == 0 {
		return condition{}, fmt.Errorf("a state is missing")
	}
	load := wire.Expression("ct", wire.U32(unix.NFTA_CT_DREG, wire.Reg(0)), wire.U32(unix.NFTA_CT_KEY, unix.NFT_CT_STATE))
	return condition{load: wire.One(load), of: wire.MarkType, mask: wire.Native(bits), not: not, flags: true, spans: []wire.Span{wire.Only(wire.Native(0))}}, nil
}

func (w *reader) addressCondition(source bool) condition {
	offset, size, of := ipv4.daddr, uint32(4), wire.IPv4Addr
	switch {
	case w.six && source:
		offset, size, of = ipv6.saddr, 16, wire.IPv6Addr
	case w.six:
		offset, size, of = ipv6.daddr, 16, wire.IPv6Addr
	case source:
		offset = ipv4.saddr
	}
	return condition{load: wire.One(wire.Payload(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, size, wire.Reg(0))), of: of}
}

func portCondition(source bool) condition {
	offset := uint32(2)
	if source {
		offset = 0
	}
	return condition{load: wire.One(wire.Payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, offset, 2, wire.Reg(0))), of: wire.InetService}
}

func protocolCondition() condition {
	return condition{load: wire.One(wire.Meta(unix.NFT_META_L4PROTO, wire.Reg(0))), of: wire.InetProto}
}

func protocolIs(name string) []wire.Expr {
	return wire.One(wire.Meta(unix.NFT_META_L4PROTO, wire.Reg(0)), wire.Compare(unix.NFT_CMP_EQ, wire.Reg(0), []byte{protocols[name]}))
}

func etherSourceCondition() condition {
	ethernet := binary.NativeEndian.AppendUint16(nil, unix.ARPHRD_ETHER)
	return condition{of: wire.EtherAddr, load: wire.One(
		wire.Meta(unix.NFT_META_IIFTYPE, wire.Reg(0)), wire.Compare(unix.NFT_CMP_EQ, wire.Reg(0), ethernet),
		wire.Payload(unix.NFT_PAYLOAD_LL_HEADER, 6, 6, wire.Reg(0)),
	)}
}

func markCondition() condition {
	return condition{load: wire.One(wire.Meta(unix.NFT_META_MARK, wire.Reg(0))), of: wire.MarkType}
}

// interfaceCondition compares a name, or what comes before a wildcard at its end.
func interfaceCondition(out, not bool, wildcard string, values []string) (condition, error) {
	key := uint32(unix.NFT_META_IIFNAME)
	if out {
		key = unix.NFT_META_OIFNAME
	}
	c := condition{load: wire.One(wire.Meta(key, wire.Reg(0))), of: wire.IfNameType, not: not}
	if len(values) == 1 {
		if start, ok := strings.CutSuffix(strings.Trim(values[0], `"`), wildcard); ok && start != "" {
			_, err := parseName(start)
			c.spans = []wire.Span{wire.Only([]byte(start))}
			return c, err
		}
	}
	return c.with(parseName, values...)
}

func be16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

// last is the highest address of a prefix.
func last(p netip.Prefix) []byte {
	a := p.Masked().Addr().AsSlice()
	mask := net.CIDRMask(p.Bits(), len(a)*8)
	for i := range a {
		a[i] |= ^mask[i]
	}
	return a
}
