package client

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/mdlayher/packet"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
)

// An address is looked for on the segment before it is used (RFC 2131 section
// 4.4.1, RFC 8415 section 18.2.10.1). A neighbour answers within milliseconds;
// RFC 5227's seconds of waiting are for those who come at the same moment, of
// whom the server knows.
const (
	probeWait = 200 * time.Millisecond
	probeEach = 100 * time.Millisecond
)

// probe sends a question about an address, and gives who answers, or nothing.
func probe(ctx context.Context, c conn, to net.Addr, question []byte, read func([]byte) (*string, error)) (owner string, err error) {
	short, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	answer, err := ask(short, Patience{ResendMax: probeEach}, c, to, func(time.Duration) []byte { return question }, read)
	switch {
	case err == nil:
		return *answer, nil
	case errors.Is(err, ErrSilent) && ctx.Err() == nil:
		return "", nil
	}
	return "", err
}

var everybody = &packet.Addr{HardwareAddr: nclient4.BroadcastMac}

// probe4 asks by ARP who has an address, without telling anybody one's own
// (RFC 5227 section 2.1.1).
func probe4(ctx context.Context, k *kernel.Kernel, l *kernel.Link, a netip.Addr) (owner string, err error) {
	if l.Flags&unix.IFF_NOARP != 0 {
		return "", nil
	}
	c, err := openPackets(k, kernel.Pod, l, unix.ETH_P_ARP)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return probe(ctx, c, everybody, arpRequest(l.MAC, netip.IPv4Unspecified(), a), func(b []byte) (*string, error) {
		owner := arpOwner(b, a)
		if owner == nil || bytes.Equal(owner, l.MAC) {
			return nil, nil
		}
		text := owner.String()
		return &text, nil
	})
}

// Announce tells everybody on the pod's segment behind which hardware address an
// IPv4 address is now (RFC 5227 section 2.3): those who had it of another pod
// take it over.
func Announce(k *kernel.Kernel, link string, a netip.Addr) error {
	l, err := k.Link(kernel.Pod, link)
	if err != nil || l.Flags&unix.IFF_NOARP != 0 || len(l.MAC) != 6 {
		return err
	}
	c, err := openPackets(k, kernel.Pod, l, unix.ETH_P_ARP)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.WriteTo(arpRequest(l.MAC, a, a), everybody)
	return err
}

// arpHead is Ethernet and IPv4, with addresses of 6 and 4 bytes (RFC 826).
var arpHead = []byte{0, 1, 8, 0, 6, 4}

func arpRequest(mac net.HardwareAddr, own, a netip.Addr) []byte {
	return slices.Concat(arpHead, []byte{0, 1}, mac, own.AsSlice(), make([]byte, 6), a.AsSlice())
}

// arpOwner is who says in an ARP packet that the address is theirs.
func arpOwner(b []byte, a netip.Addr) net.HardwareAddr {
	const size = 28
	if len(b) < size || !bytes.HasPrefix(b, arpHead) || netip.AddrFrom4([4]byte(b[14:18])) != a {
		return nil
	}
	return slices.Clone(b[8:14])
}

// probe6 asks by neighbour solicitation whether somebody has an address
// (RFC 4861 section 4.3).
func probe6(ctx context.Context, k *kernel.Kernel, l *kernel.Link, a netip.Addr) (owner string, err error) {
	c, err := openNeighbours(k, l, ipv6.ICMPTypeNeighborAdvertisement)
	if err != nil {
		return "", err
	}
	defer c.Close()
	question := slices.Concat([]byte{byte(ipv6.ICMPTypeNeighborSolicitation), 0, 0, 0, 0, 0, 0, 0}, a.AsSlice())
	if len(l.MAC) == 6 {
		question = append(append(question, 1, 1), l.MAC...) // whom to answer
	}
	group := net.IP{0: 0xff, 1: 2, 11: 1, 12: 0xff, 15: 0} // solicited-node (RFC 4291 section 2.7.1)
	copy(group[13:], a.AsSlice()[13:])
	somebody := "somebody else on the segment"
	return probe(ctx, c, &net.IPAddr{IP: group}, question, func(b []byte) (*string, error) {
		const size = 24 // of an advertisement without options
		if len(b) < size || netip.AddrFrom16([16]byte(b[8:size])) != a {
			return nil, nil
		}
		return &somebody, nil
	})
}
