package client

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
)

// An address is looked for on the segment before it is used (RFC 2131 section
// 4.4.1, RFC 8415 section 18.2.10.1). A neighbour answers within milliseconds;
// RFC 5227's seconds of waiting are for those who come at the same moment, of
// whom the server knows.
const (
	probes    = 2
	probeWait = 100 * time.Millisecond
)

// probe4 asks who has an address by ARP, without telling anybody one's own
// (RFC 5227 section 2.1.1), and gives who answers, or nil.
func probe4(ctx context.Context, k *kernel.Kernel, l *kernel.Link, a netip.Addr) (net.HardwareAddr, error) {
	if l.Flags&unix.IFF_NOARP != 0 {
		return nil, nil
	}
	s, err := openLink(k, kernel.Pod, l, unix.ETH_P_ARP, nil)
	if err != nil {
		return nil, err
	}
	defer s.close()
	for range probes {
		if err := s.send(arpRequest(l.MAC, netip.IPv4Unspecified(), a), nil, linkAddress(l, unix.ETH_P_ARP, broadcastMAC)); err != nil {
			return nil, err
		}
		for until := time.Now().Add(probeWait); ; {
			b, _, err := s.receive(ctx, until)
			if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
				break
			}
			if err != nil {
				return nil, err
			}
			if owner := arpOwner(b, a); owner != nil && owner.String() != l.MAC.String() {
				return owner, nil
			}
		}
	}
	return nil, nil
}

// Announce tells everybody on the pod's segment behind which hardware address an
// IPv4 address is now (RFC 5227 section 2.3): those who had it of another pod
// take it over.
func Announce(k *kernel.Kernel, link string, a netip.Addr) error {
	l, err := k.Link(kernel.Pod, link)
	if err != nil || l.Flags&unix.IFF_NOARP != 0 || len(l.MAC) != 6 {
		return err
	}
	s, err := openLink(k, kernel.Pod, l, unix.ETH_P_ARP, nothing)
	if err != nil {
		return err
	}
	defer s.close()
	return s.send(arpRequest(l.MAC, a, a), nil, linkAddress(l, unix.ETH_P_ARP, broadcastMAC))
}

// arpRequest asks who has an address (RFC 826).
func arpRequest(mac net.HardwareAddr, own, a netip.Addr) []byte {
	b := []byte{0, 1, unix.ETH_P_IP >> 8, unix.ETH_P_IP & 0xff, 6, 4, 0, 1}
	b = append(b, mac...)
	b = append(b, own.AsSlice()...)
	b = append(b, make([]byte, 6)...)
	return append(b, a.AsSlice()...)
}

// arpOwner is who says in an ARP packet that the address is theirs.
func arpOwner(b []byte, a netip.Addr) net.HardwareAddr {
	const size = 28
	if len(b) < size || binary.BigEndian.Uint16(b) != 1 || binary.BigEndian.Uint16(b[2:]) != unix.ETH_P_IP || b[4] != 6 || b[5] != 4 {
		return nil
	}
	if netip.AddrFrom4([4]byte(b[14:18])) != a {
		return nil
	}
	return append(net.HardwareAddr(nil), b[8:14]...)
}

// probe6 asks who has an address by neighbour solicitation, without telling
// anybody one's own (RFC 4862 section 5.4.2).
func probe6(ctx context.Context, k *kernel.Kernel, l *kernel.Link, a netip.Addr) (taken bool, err error) {
	s, err := openLink(k, kernel.Pod, l, unix.ETH_P_IPV6, toNeighbours)
	if err != nil {
		return false, err
	}
	defer s.close()
	node := a.As16()
	to := netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: node[13], 14: node[14], 15: node[15]})
	packet := neighbourSolicitation(to, a)
	for range probes {
		if err := s.send(packet, nil, linkAddress(l, unix.ETH_P_IPV6, multicastMAC(to))); err != nil {
			return false, err
		}
		for until := time.Now().Add(probeWait); ; {
			b, _, err := s.receive(ctx, until)
			if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
				break
			}
			if err != nil {
				return false, err
			}
			if advertised(b) == a {
				return true, nil
			}
		}
	}
	return false, nil
}

// Types of ICMPv6 (RFC 4861 section 4).
const (
	icmpSolicitation  = 135
	icmpAdvertisement = 136
	icmpSize          = 24 // of both, without options
)

func neighbourSolicitation(to, a netip.Addr) []byte {
	b := append([]byte{icmpSolicitation, 0, 0, 0, 0, 0, 0, 0}, a.AsSlice()...)
	from := netip.IPv6Unspecified()
	binary.BigEndian.PutUint16(b[2:], transportSum(from, to, unix.IPPROTO_ICMPV6, b))
	return append(ipHeader(from, to, unix.IPPROTO_ICMPV6, 255, len(b)), b...)
}

// advertised is the address that an IPv6 packet says its sender has.
func advertised(b []byte) netip.Addr {
	if len(b) < ip6Header+icmpSize || b[6] != unix.IPPROTO_ICMPV6 || b[7] != 255 || b[ip6Header] != icmpAdvertisement {
		return netip.Addr{}
	}
	return netip.AddrFrom16([16]byte(b[ip6Header+8 : ip6Header+icmpSize]))
}

// toNeighbours lets neighbour advertisements through.
var toNeighbours = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 6}, // next header
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_ICMPV6, Jf: 3},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: ip6Header}, // type
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: icmpAdvertisement, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: messageMax},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}
