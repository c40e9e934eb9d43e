package kerneltest

import (
	"bytes"
	"errors"
	"iter"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Ear hears the frames that pass the host's links from Listen on.
type Ear struct {
	s  *Sandbox
	fd int
}

// patience is how long an Ear waits for what it is to hear.
const patience = time.Minute

// Listen opens an Ear.
func (s *Sandbox) Listen() Ear {
	s.t.Helper()
	const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all)
	s.must(err)
	s.t.Cleanup(func() { _ = unix.Close(fd) })
	timeout := unix.NsecToTimeval(int64(patience))
	s.must(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout))
	return Ear{s, fd}
}

// frames are those that come, and by which link, until it has been patient.
func (e Ear) frames() iter.Seq2[[]byte, *unix.SockaddrLinklayer] {
	return func(yield func([]byte, *unix.SockaddrLinklayer) bool) {
		b := make([]byte, 2048)
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
			n, from, err := unix.Recvfrom(e.fd, b, 0)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if at, ok := from.(*unix.SockaddrLinklayer); err != nil || ok && !yield(b[:n], at) {
				return
			}
		}
	}
}

// Hears reports an error where a frame does not come by one of the host's
// links, and gives the links that it came by until then.
func (e Ear) Hears(link string, frame []byte) map[string]bool {
	e.s.t.Helper()
	by := map[string]bool{}
	for got, at := range e.frames() {
		if !bytes.Equal(got, frame) || at.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		i, err := net.InterfaceByIndex(at.Ifindex) // in the test's own namespace
		e.s.must(err)
		if by[i.Name] = true; i.Name == link {
			return by
		}
	}
	e.s.t.Errorf("the frame did not come by %s, but by %v", link, by)
	return by
}

// Announced reports an error where neighbours are not told of an IPv4 and an
// IPv6 address.
func (e Ear) Announced(ipv4, ipv6 string) {
	e.s.t.Helper()
	four, six := netip.MustParseAddr(ipv4).As4(), netip.MustParseAddr(ipv6).As16()
	var arp, na bool
	for f := range e.frames() {
		switch n := len(f); {
		case n >= 42 && f[12] == 8 && f[13] == 6: // ARP: sender and target are the address
			arp = arp || bytes.Equal(f[28:32], four[:]) && bytes.Equal(f[38:42], four[:])
		case n >= 78 && f[12] == 0x86 && f[13] == 0xdd && f[54] == 136: // a neighbour advertisement
			na = na || bytes.Equal(f[62:78], six[:])
		}
		if arp && na {
			return
		}
	}
	e.s.t.Errorf("heard of %s: %t, of %s: %t", ipv4, arp, ipv6, na)
}
