package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact/addr"
	"github.com/catena-cni/catena/internal/fact/route"
	"github.com/catena-cni/catena/internal/kernel"
)

// udp6 is a conversation by the kernel's own UDP, from the link-local address.
type udp6 struct {
	*socket
	link *kernel.Link
}

func openUDP6(k *kernel.Kernel, l *kernel.Link) (udp6, error) {
	s, err := openSocket(k, kernel.Pod, unix.AF_INET6, unix.SOCK_DGRAM, 0, func(fd int) error {
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1),
			unix.BindToDevice(fd, l.Name), unix.Bind(fd, &unix.SockaddrInet6{Port: clientPort6}),
		)
	})
	return udp6{s, l}, err
}

func (u udp6) send(m dhcpv6.Message) error {
	to := &unix.SockaddrInet6{Port: serverPort6, Addr: allServers.Addr().As16(), ZoneId: uint32(u.link.Index)}
	if err := u.socket.send(m.ToBytes(), nil, to); err != nil {
		return fmt.Errorf("send to the servers: %w", err)
	}
	return nil
}

func (u udp6) receive(ctx context.Context, until time.Time) (*dhcpv6.Message, net.HardwareAddr, error) {
	b, _, err := u.socket.receive(ctx, until)
	if err != nil {
		return nil, nil, err
	}
	m, err := dhcpv6.MessageFromBytes(b)
	if err != nil {
		return nil, nil, nil // somebody's rubbish is no reason to stop listening
	}
	return m, nil, nil
}

// await waits on a pod's events until something is so, or the time is over,
// which is os.ErrDeadlineExceeded, or the context ends.
func await(ctx context.Context, k *kernel.Kernel, group int, until time.Time, so func() (bool, error)) error {
	events, err := openSocket(k, kernel.Pod, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE, func(fd int) error {
		return errors.Join(unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}), unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group))
	})
	if err != nil {
		return err
	}
	defer events.close()
	for {
		if ok, err := so(); ok || err != nil {
			return err
		}
		_, _, err := events.receive(ctx, until)
		if err != nil && !errors.Is(err, unix.ENOBUFS) { // lost events count as one: look again
			return err
		}
	}
}

// linkLocalWait bounds the wait for the kernel's look for a duplicate of the
// link-local address.
const linkLocalWait = 10 * time.Second

// awaitLinkLocal waits until the pod's interface has a link-local address to
// speak from.
func awaitLinkLocal(ctx context.Context, k *kernel.Kernel, link string) error {
	err := await(ctx, k, unix.RTNLGRP_IPV6_IFADDR, time.Now().Add(linkLocalWait), func() (bool, error) {
		return addr.HasLinkLocal(k, kernel.Pod, link)
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%s has no link-local address after %v: is the link's other end up?", link, linkLocalWait)
	}
	return err
}

// routerWait is how long a router has for its answer to a solicitation (RFC 4861
// section 10, RTR_SOLICITATION_INTERVAL).
const routerWait = 4 * time.Second

var allRouters = netip.MustParseAddr("ff02::2")

// solicitRouters asks for router advertisements, which the kernel then follows
// (RFC 4861 section 6.3.7). Its own question may be a while away.
func solicitRouters(k *kernel.Kernel, l *kernel.Link) error {
	s, err := openSocket(k, kernel.Pod, unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6, func(fd int) error {
		return errors.Join(unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255), unix.BindToDevice(fd, l.Name))
	})
	if err != nil {
		return err
	}
	defer s.close()
	const solicitation = 133
	return s.send([]byte{solicitation, 0, 0, 0, 0, 0, 0, 0}, nil, &unix.SockaddrInet6{Addr: allRouters.As16(), ZoneId: uint32(l.Index)})
}

// awaitRouter gives a router a moment to answer, so that a pod has its default
// route from the start. A segment without one is nobody's fault.
func awaitRouter(ctx context.Context, k *kernel.Kernel, until time.Time) error {
	err := await(ctx, k, unix.RTNLGRP_IPV6_ROUTE, until, func() (bool, error) { return route.HasDefault(k, kernel.Pod, true) })
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}
