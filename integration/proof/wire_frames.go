package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/integration/node"
)

// token is what a packet carries, so that it is known wherever it comes to. All are of one length.
type token string

var tokens atomic.Uint32

func newToken() token { return token(fmt.Sprintf("catena-wire-%06d", tokens.Add(1))) }

const tokenSize = len("catena-wire-000000")

// packet is a frame, as it is sent, and whether it must arrive.
type packet struct {
	what    string
	frame   func(token) []byte
	arrives bool
}

const (
	typeIPv4, typeIPv6, typeARP, typeVLAN = 0x0800, 0x86dd, 0x0806, 0x8100
	typeLocal                             = 0x88b5 // for experiments (IEEE 802)
)

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func ethernet(to, from net.HardwareAddr, kind uint16, payload []byte) []byte {
	b := append(append([]byte{}, to...), from...)
	b = append(binary.BigEndian.AppendUint16(b, kind), payload...)
	for len(b) < 60 { // the least that Ethernet has
		b = append(b, 0)
	}
	return b
}

// tagged is a frame's payload in a VLAN.
func tagged(vlan, kind uint16, payload []byte) []byte {
	return append(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, vlan), kind), payload...)
}

// arp says who has an address. The token is behind it, where Ethernet pads.
func arp(op uint16, mac net.HardwareAddr, from, to netip.Addr, t token) []byte {
	b := []byte{0, 1, 8, 0, 6, 4}
	b = append(append(binary.BigEndian.AppendUint16(b, op), mac...), from.AsSlice()...)
	b = append(append(b, make([]byte, 6)...), to.AsSlice()...)
	return append(b, t...)
}

// sum is the Internet's checksum (RFC 1071).
func sum(parts ...[]byte) uint16 {
	var n uint32
	for _, b := range parts { // each but the last is of even length
		for i := 0; i < len(b); i += 2 {
			n += uint32(b[i]) << 8
			if i+1 < len(b) {
				n += uint32(b[i+1])
			}
		}
	}
	for n > 0xffff {
		n = n>>16 + n&0xffff
	}
	return ^uint16(n)
}

// ip is an IP packet, and the type of the frames that carry it.
func ip(from, to netip.Addr, protocol, hops byte, payload []byte) (kind uint16, b []byte) {
	if from.Is6() {
		b = []byte{0x60, 0, 0, 0}
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(payload))), protocol, hops)
		return typeIPv6, append(append(append(b, from.AsSlice()...), to.AsSlice()...), payload...)
	}
	b = []byte{0x45, 0}
	b = append(binary.BigEndian.AppendUint16(b, uint16(20+len(payload))), 0, 0, 0, 0, hops, protocol, 0, 0)
	b = append(append(b, from.AsSlice()...), to.AsSlice()...)
	binary.BigEndian.PutUint16(b[10:], sum(b))
	return typeIPv4, append(b, payload...)
}

// summed fills a checksum over the addresses and the payload in.
func summed(from, to netip.Addr, protocol byte, at int, b []byte) []byte {
	pseudo := append(append(from.AsSlice(), to.AsSlice()...), 0, protocol)
	pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(b)))
	binary.BigEndian.PutUint16(b[at:], sum(pseudo, b))
	return b
}

func udp(from, to netip.AddrPort, payload string) (kind uint16, b []byte) {
	b = binary.BigEndian.AppendUint16(nil, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	b = append(binary.BigEndian.AppendUint16(b, uint16(8+len(payload))), 0, 0)
	b = summed(from.Addr(), to.Addr(), unix.IPPROTO_UDP, 6, append(b, payload...))
	return ip(from.Addr(), to.Addr(), unix.IPPROTO_UDP, 64, b)
}

// datagram is a frame with a UDP datagram that carries the token.
func datagram(mac, from net.HardwareAddr, source, destination netip.AddrPort) func(token) []byte {
	return func(t token) []byte {
		kind, b := udp(source, destination, string(t))
		return ethernet(mac, from, kind, b)
	}
}

// onOneProcessor runs in a space as long as what is sent from one place to another has to keep its order: a veth pair
// has a queue for each processor.
func onOneProcessor(s *node.Space, do func() error) error {
	return s.Do(func() error {
		var all, one unix.CPUSet
		if err := unix.SchedGetaffinity(0, &all); err != nil {
			return err
		}
		first := 0
		for !all.IsSet(first) {
			first++
		}
		one.Set(first)
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			return err
		}
		return do()
	})
}

// packetSocket is bound to a link; with protocol 0 it only sends.
func packetSocket(link string, protocol uint16) (int, error) {
	l, err := net.InterfaceByName(link)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	swapped := protocol<<8 | protocol>>8
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: swapped, Ifindex: l.Index}); err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

// mouth sends frames.
type mouth struct {
	name string
	mac  net.HardwareAddr
	send func(frames ...[]byte) error
}

// mouthAt sends frames out of a link, one after another.
func mouthAt(s *node.Space, link string) (m mouth, err error) {
	m = mouth{name: s.Name, send: func(frames ...[]byte) error {
		return onOneProcessor(s, func() error {
			fd, err := packetSocket(link, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			for _, frame := range frames {
				if _, err := unix.Write(fd, frame); err != nil {
					return err
				}
			}
			return nil
		})
	}}
	m.mac, err = macOf(s, link)
	return m, err
}

func macOf(s *node.Space, link string) (mac net.HardwareAddr, err error) {
	err = s.Do(func() error {
		l, err := net.InterfaceByName(link)
		if err == nil {
			mac = l.HardwareAddr
		}
		return err
	})
	return mac, err
}

// ear hears what comes to a link, or to a socket.
type ear struct {
	name string
	fd   int
}

func (e ear) close() { unix.Close(e.fd) }

// earAt hears the frames that a link receives, whoever they are for.
func earAt(s *node.Space, link string) (e ear, err error) {
	e.name = s.Name
	err = s.Do(func() (err error) {
		e.fd, err = packetSocket(link, unix.ETH_P_ALL)
		return err
	})
	return e, err
}

// earOf hears the datagrams that a socket receives, at whichever address.
func earOf(s *node.Space, six bool, port int) (e ear, err error) {
	e.name = s.Name
	err = s.Do(func() (err error) {
		family, at := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: port})
		if six {
			family, at = unix.AF_INET6, &unix.SockaddrInet6{Port: port}
		}
		if e.fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if six {
			if err := unix.SetsockoptInt(e.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
				return err
			}
		}
		return unix.Bind(e.fd, at)
	})
	return e, err
}

// until hears until a token has come, and gives all that came before it.
func (e ear) until(last token) (heard map[token]bool, err error) {
	heard = map[token]bool{}
	b := make([]byte, 4096)
	if err := unix.SetsockoptTimeval(e.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(patience / time.Second)}); err != nil {
		return nil, err
	}
	for !heard[last] {
		n, from, err := unix.Recvfrom(e.fd, b, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return heard, fmt.Errorf("%s waits for what must arrive last: %w", e.name, err)
		}
		if l, is := from.(*unix.SockaddrLinklayer); is && l.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		_, rest, found := strings.Cut(string(b[:n]), "catena-wire-")
		if found && len(rest) >= 6 {
			heard[token("catena-wire-"+rest[:6])] = true
		}
	}
	return heard, nil
}

// hear sends packets, and behind them one that must arrive, and says what has arrived at an ear and must not have, or the
// other way round. What is sent last comes the same way, or a shorter one.
func (r *row) hear(e ear, from mouth, packets []packet, last mouth, end func(token) []byte) error {
	var frames [][]byte
	var sent []token
	for _, p := range packets {
		t := newToken()
		sent, frames = append(sent, t), append(frames, p.frame(t))
	}
	t := newToken()
	if err := errors.Join(from.send(frames...), last.send(end(t))); err != nil {
		return err
	}
	heard, err := e.until(t)
	if err != nil {
		return err
	}
	for i, p := range packets {
		r.is(heard[sent[i]] == p.arrives, "%s, from %s: arrives at %s: %t", p.what, from.name, e.name, heard[sent[i]])
	}
	return nil
}

// is counts a point, which is as it must be or not.
func (r *row) is(so bool, format string, args ...any) {
	r.points++
	if !so {
		r.wrong = append(r.wrong, fmt.Sprintf(format, args...))
	}
}
