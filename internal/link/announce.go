package link

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
)

// Announce tells everybody on the segment behind which hardware address the
// pod's addresses are now: by a gratuitous ARP (RFC 5227 section 3) and an
// unsolicited neighbour advertisement (RFC 4861 section 7.2.6). Who still holds
// what another pod said of an address is set right at once.
type Announce struct {
	Link  string
	Addrs []netip.Addr
}

func (a Announce) String() string {
	words := []string{"tell", "pod", a.Link}
	for _, ip := range a.Addrs {
		words = append(words, ip.String())
	}
	return strings.Join(words, " ")
}

// Add sends one frame for each address. It is a courtesy: where it cannot be
// sent the neighbours find out by themselves.
func (a Announce) Add(k *kernel.Kernel) error {
	l, err := k.Link(kernel.Pod, a.Link)
	if err != nil || len(l.MAC) != 6 {
		return err
	}
	return k.Do(kernel.Pod, func() error {
		// Protocol 0 receives nothing: the socket is for sending alone.
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil
		}
		defer unix.Close(fd)
		for _, ip := range a.Addrs {
			_ = unix.Sendto(fd, announcement(ip, l.MAC), 0, &unix.SockaddrLinklayer{Ifindex: l.Index})
		}
		return nil
	})
}

// Del does nothing: nobody needs to be told.
func (a Announce) Del(*kernel.Kernel) error { return nil }

// Check has nothing to look at.
func (a Announce) Check(*kernel.Kernel) error { return nil }

func announcement(ip netip.Addr, mac net.HardwareAddr) []byte {
	if ip.Is4() {
		return gratuitousARP(ip, mac)
	}
	return neighbourAdvertisement(ip, mac)
}

func ethernet(dst string, src net.HardwareAddr, proto uint16) []byte {
	to, _ := net.ParseMAC(dst)
	return binary.BigEndian.AppendUint16(append(to, src...), proto)
}

// gratuitousARP is a request for one's own address, which everybody hears.
func gratuitousARP(ip netip.Addr, mac net.HardwareAddr) []byte {
	f := ethernet("ff:ff:ff:ff:ff:ff", mac, unix.ETH_P_ARP)
	f = append(f, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, lengths 6 and 4, request
	f = append(append(f, mac...), ip.AsSlice()...)
	return append(append(f, 0, 0, 0, 0, 0, 0), ip.AsSlice()...)
}

var allNodes = netip.MustParseAddr("ff02::1")

// neighbourAdvertisement overrides what neighbours hold of the address.
func neighbourAdvertisement(ip netip.Addr, mac net.HardwareAddr) []byte {
	na := []byte{136, 0, 0, 0, 0x20, 0, 0, 0} // type, code, checksum, the override flag
	na = append(na, ip.AsSlice()...)
	na = append(append(na, 2, 1), mac...) // option: the target's link-layer address
	binary.BigEndian.PutUint16(na[2:], checksum(ip, allNodes, na))

	f := ethernet("33:33:00:00:00:01", mac, unix.ETH_P_IPV6)
	f = append(f, 0x60, 0, 0, 0, 0, byte(len(na)), unix.IPPROTO_ICMPV6, 255)
	f = append(append(f, ip.AsSlice()...), allNodes.AsSlice()...)
	return append(f, na...)
}

// checksum is ICMPv6's, over the pseudo-header and the message (RFC 4443
// section 2.3).
func checksum(src, dst netip.Addr, message []byte) uint16 {
	b := append(src.AsSlice(), dst.AsSlice()...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(message)))
	b = append(append(b, 0, 0, 0, unix.IPPROTO_ICMPV6), message...)
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
