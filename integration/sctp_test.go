package integration

import (
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/integration/node"
	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestHostPortSCTP carries a message over SCTP from outside through a host port, to the same and to another port of the
// pod, over both families.
func TestHostPortSCTP(t *testing.T) {
	t.Parallel()
	kerneltest.Needs(t, "sctp")
	b := newBridged(t)
	p := b.pod(88, 2)
	_, err := b.portmap("ADD", p, "",
		node.Port{HostPort: 7000, ContainerPort: 7000, Protocol: "sctp"}, node.Port{HostPort: 7001, ContainerPort: 7002, Protocol: "sctp"})
	must(t, err)
	for _, way := range []struct {
		host     string
		from, to uint16
	}{{node.Addr4, 7000, 7000}, {node.Addr4, 7001, 7002}, {node.Addr6, 7000, 7000}, {node.Addr6, 7001, 7002}} {
		t.Run(fmt.Sprintf("%s %d", way.host, way.from), func(t *testing.T) {
			host := netip.AddrPortFrom(netip.MustParseAddr(way.host), way.from)
			any := netip.IPv4Unspecified()
			if host.Addr().Is6() {
				any = netip.IPv6Unspecified()
			}
			var listener int
			must(t, p.Do(func() (err error) {
				listener, err = sctp(host.Addr().Is6())
				if err == nil {
					err = unix.Bind(listener, sockaddr(netip.AddrPortFrom(any, way.to)))
				}
				if err == nil {
					err = unix.Listen(listener, 1)
				}
				return err
			}))
			defer unix.Close(listener)
			must(t, b.Outside.Do(func() error {
				client, err := sctp(host.Addr().Is6())
				if err != nil {
					return err
				}
				defer unix.Close(client)
				if err := unix.Connect(client, sockaddr(host)); err != nil {
					return fmt.Errorf("connect to %v: %w", host, err)
				}
				_, err = unix.Write(client, []byte("hello"))
				return err
			}))
			conn, _, err := unix.Accept(listener)
			must(t, err)
			defer unix.Close(conn)
			heard := make([]byte, 16)
			n, err := unix.Read(conn, heard)
			if err != nil || string(heard[:n]) != "hello" {
				t.Errorf("heard %q, %v", heard[:n], err)
			}
		})
	}
	_, err = b.portmap("DEL", p, "")
	must(t, err)
}

// sctp is a one-to-one style socket (RFC 6458 section 4) that waits ten seconds at most.
func sctp(six bool) (int, error) {
	family := unix.AF_INET
	if six {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if err != nil {
		return 0, err
	}
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &unix.Timeval{Sec: 10}); err != nil {
			return 0, err
		}
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}
