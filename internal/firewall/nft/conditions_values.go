package nft

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// parseAddress reads an address, a prefix or a range of addresses of a family.
func parseAddress(six bool) func(string) (span, error) {
	return func(text string) (span, error) {
		if first, end, ok := strings.Cut(text, "-"); ok {
			a, errA := netip.ParseAddr(first)
			b, errB := netip.ParseAddr(end)
			if errA != nil || errB != nil || a.Is6() != six || b.Is6() != six || b.Less(a) {
				return span{}, wrongAddress(text, six)
			}
			return span{a.AsSlice(), b.AsSlice()}, nil
		}
		p, err := netip.ParsePrefix(text)
		if a, aErr := netip.ParseAddr(text); aErr == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || p.Addr().Is6() != six || p.Addr().Zone() != "" {
			return span{}, wrongAddress(text, six)
		}
		return span{p.Masked().Addr().AsSlice(), last(p)}, nil
	}
}

func wrongAddress(text string, six bool) error {
	if six {
		return unknown(text, "an IPv6 address, 2001:db8::/32 or 2001:db8::1-2001:db8::9")
	}
	return unknown(text, "an IPv4 address, 192.0.2.0/24 or 192.0.2.1-192.0.2.9")
}

// parsePort reads a port or a range of them, with '-' or ':' between.
func parsePort(text string) (span, error) {
	first, end, ok := strings.Cut(strings.Replace(text, ":", "-", 1), "-")
	if !ok {
		end = first
	}
	a, errA := strconv.ParseUint(first, 10, 16)
	b, errB := strconv.ParseUint(end, 10, 16)
	if errA != nil || errB != nil || b < a {
		return span{}, unknown(text, "a port's number, or a range of them,")
	}
	return span{be16(uint16(a)), be16(uint16(b))}, nil
}

var protocols = map[string]byte{
	"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP, "icmp": unix.IPPROTO_ICMP,
	"icmpv6": unix.IPPROTO_ICMPV6, "ipv6-icmp": unix.IPPROTO_ICMPV6, "udplite": unix.IPPROTO_UDPLITE, "dccp": unix.IPPROTO_DCCP,
}

func parseProtocol(text string) (span, error) {
	if n, ok := protocols[text]; ok {
		return only([]byte{n}), nil
	}
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil {
		return span{}, unknown(text, "tcp, udp, sctp or a protocol's number")
	}
	return only([]byte{byte(n)}), nil
}

func parseName(text string) (span, error) {
	name := strings.Trim(text, `"`)
	if name == "" || len(name) >= unix.IFNAMSIZ || strings.ContainsAny(name, "/:*+\"") {
		return span{}, unknown(text, "an interface's name")
	}
	return only(ifnameBytes(name)), nil
}

func parseMAC(text string) (span, error) {
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 {
		return span{}, unknown(text, "a hardware address")
	}
	return only(mac), nil
}

// parseMark reads a mark. It is compared in the machine's byte order.
func parseMark(text string) (span, error) {
	n, err := strconv.ParseUint(text, 0, 32)
	if err != nil {
		return span{}, unknown(text, "a mark, 0 to 0xffffffff,")
	}
	return only(native(uint32(n))), nil
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
	load := expression("ct", u32Attr(unix.NFTA_CT_DREG, reg(0)), u32Attr(unix.NFTA_CT_KEY, unix.NFT_CT_STATE))
	return condition{load: one(load), of: markType, mask: native(bits), not: not, flags: true, spans: []span{only(native(0))}}, nil
}

func (w *reader) addressCondition(source bool) condition {
	offset, size, of := uint32(daddr4), uint32(4), ipv4Addr
	switch {
	case w.six && source:
		offset, size, of = saddr6, 16, ipv6Addr
	case w.six:
		offset, size, of = daddr6, 16, ipv6Addr
	case source:
		offset = saddr4
	}
	return condition{load: one(payload(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, size, reg(0))), of: of}
}

func portCondition(source bool) condition {
	offset := uint32(2)
	if source {
		offset = 0
	}
	return condition{load: one(payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, offset, 2, reg(0))), of: inetService}
}

func protocolCondition() condition {
	return condition{load: one(meta(unix.NFT_META_L4PROTO, reg(0))), of: inetProto}
}

func protocolIs(name string) []expr {
	return one(meta(unix.NFT_META_L4PROTO, reg(0)), cmp(unix.NFT_CMP_EQ, reg(0), []byte{protocols[name]}))
}

func etherSourceCondition() condition {
	ethernet := binary.NativeEndian.AppendUint16(nil, unix.ARPHRD_ETHER)
	return condition{of: etherAddr, load: one(
		meta(unix.NFT_META_IIFTYPE, reg(0)), cmp(unix.NFT_CMP_EQ, reg(0), ethernet),
		payload(unix.NFT_PAYLOAD_LL_HEADER, etherSource, 6, reg(0)),
	)}
}

func markCondition() condition {
	return condition{load: one(meta(unix.NFT_META_MARK, reg(0))), of: markType}
}

// interfaceCondition compares a name, or what comes before a wildcard at its end.
func interfaceCondition(out, not bool, wildcard string, values []string) (condition, error) {
	key := uint32(unix.NFT_META_IIFNAME)
	if out {
		key = unix.NFT_META_OIFNAME
	}
	c := condition{load: one(meta(key, reg(0))), of: ifnameType, not: not}
	if len(values) == 1 {
		if start, ok := strings.CutSuffix(strings.Trim(values[0], `"`), wildcard); ok && start != "" {
			_, err := parseName(start)
			c.spans = []span{only([]byte(start))}
			return c, err
		}
	}
	return c.with(parseName, values...)
}
