package client

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// datagram is a UDP datagram with its addresses.
type datagram struct {
	from, to netip.AddrPort
	payload  []byte
}

const (
	udpHeader  = 8
	ip4Header  = 20
	ip6Header  = 40
	hopsOfOurs = 64
)

// packet is the datagram with its headers (RFC 768, RFC 791, RFC 8200).
func (d datagram) packet() []byte {
	udp := make([]byte, udpHeader, udpHeader+len(d.payload))
	binary.BigEndian.PutUint16(udp, d.from.Port())
	binary.BigEndian.PutUint16(udp[2:], d.to.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(udpHeader+len(d.payload)))
	udp = append(udp, d.payload...)
	binary.BigEndian.PutUint16(udp[6:], transportSum(d.from.Addr(), d.to.Addr(), unix.IPPROTO_UDP, udp))
	return append(ipHeader(d.from.Addr(), d.to.Addr(), unix.IPPROTO_UDP, hopsOfOurs, len(udp)), udp...)
}

// ipHeader is the header of the addresses' family.
func ipHeader(from, to netip.Addr, protocol, hops byte, length int) []byte {
	if from.Is6() {
		h := make([]byte, 8, ip6Header)
		h[0], h[6], h[7] = 6<<4, protocol, hops
		binary.BigEndian.PutUint16(h[4:], uint16(length))
		return append(append(h, from.AsSlice()...), to.AsSlice()...)
	}
	h := make([]byte, 12, ip4Header)
	h[0], h[8], h[9] = 4<<4|ip4Header/4, hops, protocol
	binary.BigEndian.PutUint16(h[2:], uint16(ip4Header+length))
	h = append(append(h, from.AsSlice()...), to.AsSlice()...)
	binary.BigEndian.PutUint16(h[10:], ^fold(sum(0, h)))
	return h
}

// transportSum is the checksum over a transport's header and content and the
// addresses (RFC 768, RFC 8200 section 8.1). One that comes out as none is
// sent as all ones.
func transportSum(from, to netip.Addr, protocol byte, b []byte) uint16 {
	s := sum(sum(sum(0, from.AsSlice()), to.AsSlice()), b) + uint32(protocol) + uint32(len(b))
	if s := ^fold(s); s != 0 {
		return s
	}
	return 0xffff
}

// sum adds the 16 bit words in b (RFC 1071).
func sum(s uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) > 0 {
		s += uint32(b[0]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// parse4 reads an IPv4 packet with a whole UDP datagram in it. Its checksum is
// not looked at: where both ends are on one machine nobody fills it in.
func parse4(b []byte) (d datagram, ok bool) {
	if len(b) < ip4Header || b[0]>>4 != 4 || b[9] != unix.IPPROTO_UDP {
		return d, false
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	fragment := binary.BigEndian.Uint16(b[6:]) & 0x3fff // more to come, or the offset
	if header < ip4Header || total > len(b) || total < header+udpHeader || fragment != 0 {
		return d, false
	}
	udp := b[header:total]
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if length < udpHeader || length > len(udp) {
		return d, false
	}
	d.from = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:16])), binary.BigEndian.Uint16(udp))
	d.to = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[16:20])), binary.BigEndian.Uint16(udp[2:]))
	d.payload = udp[udpHeader:length]
	return d, true
}
