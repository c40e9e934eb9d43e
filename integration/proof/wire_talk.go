package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/catena-cni/catena/integration/node"
)

// protocols are those that have ports.
var protocols = []string{"tcp", "udp", "sctp"}

// patience is how long an answer may take that must come.
const patience = time.Minute

// moment is how long one is waited for that is not to come.
const moment = time.Second

// place is a space that answers on ports, over each protocol and either family, with its name, the port and the address
// that it sees the question come from. Where every place answers, it is an answer too who has not been reached.
type place struct {
	*node.Space
	addrs   [2]netip.Addr // of IPv4 and of IPv6
	hostEnd string        // the host's end of a pod's link
	open    []io.Closer
}

func (p *place) answer(port int, from netip.Addr) string {
	return fmt.Sprintf("%s %d %s", p.Name, port, from.Unmap())
}

// listen begins to answer on ports.
func (p *place) listen(ports ...int) error {
	return p.Do(func() error {
		for _, family := range []string{"4", "6"} {
			for _, port := range ports {
				if err := errors.Join(p.tcp(family, port), p.udp(family, port)); err != nil {
					return err
				}
			}
			if err := p.sctp(family); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *place) close() {
	for _, c := range p.open {
		c.Close()
	}
}

func (p *place) tcp(family string, port int) error {
	l, err := net.Listen("tcp"+family, net.JoinHostPort("", strconv.Itoa(port)))
	if err != nil {
		return err
	}
	p.open = append(p.open, l)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, p.answer(port, addrOf(conn.RemoteAddr())))
			conn.Close()
		}
	}()
	return nil
}

func (p *place) udp(family string, port int) error {
	conn, err := net.ListenPacket("udp"+family, net.JoinHostPort("", strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return p.datagrams(family, conn, func(_ []byte, from netip.Addr) []byte { return []byte(p.answer(port, from)) })
}

// sctp answers INITs on every port: a raw socket does so on kernels without SCTP too, and conntrack takes what passes for
// an association.
func (p *place) sctp(family string) error {
	conn, err := net.ListenPacket(map[string]string{"4": "ip4:132", "6": "ip6:132"}[family], "")
	if err != nil {
		return err
	}
	return p.datagrams(family, conn, func(b []byte, from netip.Addr) []byte {
		if init, ok := readSCTP(b); ok && init.chunk == sctpInit {
			ack := sctpPacket{init.to, init.from, init.tag, sctpInitAck, p.answer(int(init.to), from)}
			return ack.bytes()
		}
		return nil
	})
}

// datagrams answers what comes, from the address that it came to.
func (p *place) datagrams(family string, conn net.PacketConn, answer func([]byte, netip.Addr) []byte) error {
	p.open = append(p.open, conn)
	read, write, err := withAddress(family, conn)
	if err != nil {
		return err
	}
	go func() {
		b := make([]byte, 2048)
		for {
			n, to, from, err := read(b)
			if err != nil {
				return
			}
			if a := answer(b[:n], addrOf(from)); a != nil {
				_ = write(a, to, from) // who waits for it will say so
			}
		}
	}()
	return nil
}

// withAddress reads with the address that a datagram came to, and writes from one.
func withAddress(family string, conn net.PacketConn) (read func([]byte) (int, net.IP, net.Addr, error), write func([]byte, net.IP, net.Addr) error, err error) {
	if family == "4" {
		four := ipv4.NewPacketConn(conn)
		read = func(b []byte) (int, net.IP, net.Addr, error) {
			n, about, from, err := four.ReadFrom(b)
			if err != nil {
				return 0, nil, nil, err
			}
			return n, about.Dst, from, nil
		}
		write = func(b []byte, from net.IP, to net.Addr) error {
			_, err := four.WriteTo(b, &ipv4.ControlMessage{Src: from}, to)
			return err
		}
		return read, write, four.SetControlMessage(ipv4.FlagDst, true)
	}
	six := ipv6.NewPacketConn(conn)
	read = func(b []byte) (int, net.IP, net.Addr, error) {
		n, about, from, err := six.ReadFrom(b)
		if err != nil {
			return 0, nil, nil, err
		}
		return n, about.Dst, from, nil
	}
	write = func(b []byte, from net.IP, to net.Addr) error {
		_, err := six.WriteTo(b, &ipv6.ControlMessage{Src: from}, to)
		return err
	}
	return read, write, six.SetControlMessage(ipv6.FlagDst, true)
}

// addrOf is the address of package net's kinds of addresses, none for those without.
func addrOf(a net.Addr) netip.Addr {
	var ip net.IP
	switch a := a.(type) {
	case *net.TCPAddr:
		ip = a.IP
	case *net.UDPAddr:
		ip = a.IP
	case *net.IPAddr:
		ip = a.IP
	}
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}

// ask gives the answer of the place that a question comes to.
func ask(s *node.Space, protocol string, to netip.AddrPort, patience time.Duration) (answer string, err error) {
	err = s.Do(func() (err error) {
		if protocol == "tcp" {
			answer, err = askTCP(to, patience)
			return err
		}
		c, err := newClient(protocol, to)
		if err != nil {
			return err
		}
		defer c.Close()
		answer, err = c.ask(patience)
		return err
	})
	return answer, err
}

func askTCP(to netip.AddrPort, patience time.Duration) (string, error) {
	conn, err := net.DialTimeout("tcp", to.String(), patience)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

// familyDigit is what names of package net's networks end in.
func familyDigit(a netip.Addr) string {
	if a.Is6() {
		return "6"
	}
	return "4"
}

// client asks by datagrams from one port, any number of times. It is not connected, so as to see an answer from elsewhere,
// and call it an error.
type client struct {
	net.PacketConn
	to       net.Addr
	question []byte
	// read gives the text of an answer, or nothing where it is another's.
	read func(b []byte, from net.Addr) (string, error)
}

// sctpPorts are the ports that INITs come from: each client has its own, as conntrack knows associations by them.
var sctpPorts atomic.Uint32

func newClient(protocol string, to netip.AddrPort) (c client, err error) {
	if protocol == "udp" {
		c.to, c.question = net.UDPAddrFromAddrPort(to), []byte("?")
		c.read = func(b []byte, from net.Addr) (string, error) {
			if from.(*net.UDPAddr).AddrPort() != to {
				return "", fmt.Errorf("the answer came from %v", from)
			}
			return string(b), nil
		}
		c.PacketConn, err = net.ListenPacket("udp"+familyDigit(to.Addr()), "")
		return c, err
	}
	own := uint16(20000 + sctpPorts.Add(1)%40000)
	c.to, c.question = &net.IPAddr{IP: to.Addr().AsSlice()}, sctpPacket{own, to.Port(), 0, sctpInit, ""}.bytes()
	c.read = func(b []byte, from net.Addr) (string, error) {
		ack, ok := readSCTP(b)
		switch {
		case !ok || ack.chunk != sctpInitAck || ack.to != own:
			return "", nil
		case ack.from != to.Port() || addrOf(from) != to.Addr():
			return "", fmt.Errorf("the answer came from %v port %d", from, ack.from)
		}
		return ack.text, nil
	}
	c.PacketConn, err = net.ListenPacket("ip"+familyDigit(to.Addr())+":132", "")
	return c, err
}

// ask sends a question and reads until there is an answer.
func (c client) ask(patience time.Duration) (string, error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := c.WriteTo(c.question, c.to); err != nil {
		return "", err
	}
	b := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return "", err
		}
		if text, err := c.read(b[:n], from); text != "" || err != nil {
			return text, err
		}
	}
}
