package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/mdlayher/packet"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
)

// A socket belongs to the network namespace that it was opened in. It is closed
// with its exchange: an open one keeps a pod's namespace from going.

// openPackets opens a socket for the packets of one protocol (unix.ETH_P_*) on a
// link.
func openPackets(k *kernel.Kernel, side kernel.Side, l *kernel.Link, protocol int) (c *packet.Conn, err error) {
	err = k.Do(side, func() (err error) {
		c, err = packet.Listen(&net.Interface{Index: l.Index}, packet.Datagram, protocol, nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open a socket for packets on %s: %w", l.Name, err)
	}
	return c, nil
}

// listen opens a socket of the pod's own stack, on one of its links.
func listen(k *kernel.Kernel, l *kernel.Link, network, address string) (c net.PacketConn, err error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		cerr := raw.Control(func(fd uintptr) {
			err = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.BindToDevice(int(fd), l.Name))
		})
		return errors.Join(cerr, err)
	}}
	err = k.Do(kernel.Pod, func() (err error) {
		c, err = config.ListenPacket(context.Background(), network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open a %s socket on %s: %w", network, l.Name, err)
	}
	return c, nil
}

// frames are the IPv4 packets of a link. It remembers where the last came from.
type frames struct {
	*packet.Conn
	sender net.HardwareAddr
}

func openFrames(k *kernel.Kernel, l *kernel.Link) (*frames, error) {
	c, err := openPackets(k, kernel.Pod, l, unix.ETH_P_IP)
	return &frames{Conn: c}, err
}

// ReadFrom is net.PacketConn's.
func (f *frames) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := f.Conn.ReadFrom(b)
	if a, _ := from.(*packet.Addr); a != nil {
		f.sender = a.HardwareAddr
	}
	return n, from, err
}

// sourceConn is UDP over IPv4 from one address. It receives what is for any: a
// DHCPNAK is for everybody.
type sourceConn struct {
	*net.UDPConn
	source netip.Addr
}

// WriteTo is net.PacketConn's.
func (c sourceConn) WriteTo(b []byte, to net.Addr) (int, error) {
	info := unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: c.source.As4()})
	n, _, err := c.WriteMsgUDP(b, info, to.(*net.UDPAddr))
	return n, err
}

// neighbours is ICMPv6 between neighbours: what comes through a router is not
// received (RFC 4861 section 11.2).
type neighbours struct{ *ipv6.PacketConn }

const hopsMax = 255

// openNeighbours receives the messages of one type.
func openNeighbours(k *kernel.Kernel, l *kernel.Link, received ipv6.ICMPType) (neighbours, error) {
	c, err := listen(k, l, "ip6:ipv6-icmp", "::")
	if err != nil {
		return neighbours{}, err
	}
	p := ipv6.NewPacketConn(c)
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	filter.Accept(received)
	if err := errors.Join(p.SetMulticastHopLimit(hopsMax), p.SetControlMessage(ipv6.FlagHopLimit, true), p.SetICMPFilter(&filter)); err != nil {
		c.Close()
		return neighbours{}, err
	}
	return neighbours{p}, nil
}

// ReadFrom is net.PacketConn's.
func (c neighbours) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, header, from, err := c.PacketConn.ReadFrom(b)
		if err != nil || header != nil && header.HopLimit == hopsMax {
			return n, from, err
		}
	}
}

// WriteTo is net.PacketConn's.
func (c neighbours) WriteTo(b []byte, to net.Addr) (int, error) {
	return c.PacketConn.WriteTo(b, nil, to)
}
