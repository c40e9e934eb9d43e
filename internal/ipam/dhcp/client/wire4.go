package client

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
)

// wire4 is a conversation by whole IP packets, for a link that has no address
// yet.
type wire4 struct {
	*socket
	link *kernel.Link
}

func (w wire4) send(m dhcpv4.DHCPv4) error {
	d := datagram{from: netip.AddrPortFrom(netip.IPv4Unspecified(), clientPort4), to: everybody, payload: m.ToBytes()}
	return w.socket.send(d.packet(), nil, linkAddress(w.link, unix.ETH_P_IP, broadcastMAC))
}

func (w wire4) receive(ctx context.Context, until time.Time) (*dhcpv4.DHCPv4, net.HardwareAddr, error) {
	b, from, err := w.socket.receive(ctx, until)
	if err != nil {
		return nil, nil, err
	}
	d, ok := parse4(b)
	if !ok || d.from.Port() != serverPort4 || d.to.Port() != clientPort4 {
		return nil, nil, nil
	}
	m, err := dhcpv4.FromBytes(d.payload)
	if err != nil {
		return nil, nil, nil // somebody's rubbish is no reason to stop listening
	}
	return m, senderOf(from), nil
}

// udp4 is a conversation by the kernel's own UDP, from the address that the
// lease is for: with the server that gave it, or with everybody.
type udp4 struct {
	*socket
	to      unix.Sockaddr
	control []byte
}

func openUDP4(k *kernel.Kernel, l *kernel.Link, lease *Lease, unicast bool) (udp4, error) {
	s, err := openSocket(k, kernel.Pod, unix.AF_INET, unix.SOCK_DGRAM, 0, func(fd int) error {
		for option, value := range map[int]int{unix.SO_REUSEADDR: 1, unix.SO_BROADCAST: 1} {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, value); err != nil {
				return err
			}
		}
		if err := unix.BindToDevice(fd, l.Name); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrInet4{Port: clientPort4})
	})
	if err != nil {
		return udp4{}, err
	}
	to := everybody.Addr()
	if unicast {
		to = lease.Server
	}
	source := unix.Inet4Pktinfo{Spec_dst: lease.Address.Addr().As4()}
	return udp4{s, &unix.SockaddrInet4{Port: serverPort4, Addr: to.As4()}, unix.PktInfo4(&source)}, nil
}

func (u udp4) send(m dhcpv4.DHCPv4) error {
	if err := u.socket.send(m.ToBytes(), u.control, u.to); err != nil {
		return fmt.Errorf("send to the server: %w", err)
	}
	return nil
}

func (u udp4) receive(ctx context.Context, until time.Time) (*dhcpv4.DHCPv4, net.HardwareAddr, error) {
	b, _, err := u.socket.receive(ctx, until)
	if err != nil {
		return nil, nil, err
	}
	m, err := dhcpv4.FromBytes(b)
	if err != nil {
		return nil, nil, nil
	}
	return m, nil, nil
}

// upLink finds the pod's interface, and brings it up where nobody has yet.
func upLink(k *kernel.Kernel, name string) (*kernel.Link, error) {
	l, err := k.Link(kernel.Pod, name)
	if err != nil || l.Up() {
		return l, err
	}
	if err := k.SetUp(kernel.Pod, l); err != nil {
		return nil, fmt.Errorf("bring %s up: %w", name, err)
	}
	return k.Link(kernel.Pod, name)
}
