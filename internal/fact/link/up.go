package link

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/netlink"
)

// Up is a link being up. It dies with the link.
type Up struct {
	Side kernel.Side
	Name string
	// Port names the host's bridge port that passes no frames until both ends
	// of its pair are up. Where it is given, Add returns when it does.
	Port string
	// ARPNotify has the kernel tell the neighbours of IPv4 addresses from then on,
	// when the hardware address changes (see Announce) or the link comes up again.
	ARPNotify bool
	// Alias names the link's owner, where it is not empty.
	Alias string
}

func (u Up) String() string {
	s := fmt.Sprintf("up   %v %s", u.Side, u.Name)
	if u.Port != "" {
		s += " until host " + u.Port + " forwards"
	}
	if u.ARPNotify {
		s += ", with arp_notify"
	}
	return s
}

// Add brings the link up.
func (u Up) Add(k *kernel.Kernel) error {
	l, err := k.Link(u.Side, u.Name)
	if err != nil {
		return err
	}
	if err := u.raise(k, l); err != nil || u.Port == "" {
		return err
	}
	return u.await(k)
}

// raise brings the link up. arp_notify is a courtesy, of which not every link
// knows. It comes in the same message, and not through /proc/sys: there the
// kernel looks through what it remembers of every pod's.
func (u Up) raise(k *kernel.Kernel, l *kernel.Link) error {
	var attrs []netlink.Attr
	if u.Alias != "" {
		attrs = append(attrs, netlink.String(unix.IFLA_IFALIAS, u.Alias))
	}
	if !u.ARPNotify {
		return k.SetUp(u.Side, l, attrs...)
	}
	const arpNotify = 22 // IPV4_DEVCONF_ARP_NOTIFY of linux/ip.h
	notify := netlink.Nest(unix.AF_INET, netlink.Nest(unix.IFLA_INET_CONF, netlink.U32(arpNotify, 1)))
	err := k.SetUp(u.Side, l, append(attrs, netlink.Nest(unix.IFLA_AF_SPEC, notify))...)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return k.SetUp(u.Side, l, attrs...)
	}
	return err
}

// portWait bounds the wait for a bridge port. The kernel takes less than a
// millisecond for it; a machine that takes longer than this has other troubles,
// and the pod's first packets find the way all the same.
const portWait = 2 * time.Second

// await looks at the port until it is operational. The kernel makes it so before
// it answers, mostly.
func (u Up) await(k *kernel.Kernel) error {
	k.Forget(kernel.Host, u.Port)
	port, err := k.Link(kernel.Host, u.Port)
	if err != nil || port.Operational {
		return err
	}
	events, err := k.Dial(kernel.Host, unix.RTNLGRP_LINK)
	if err != nil {
		return err
	}
	defer events.Close()
	// The subscription is older than each look, so no event is missed.
	for deadline := time.Now().Add(portWait); ; {
		now, err := k.LinkAt(kernel.Host, port.Index)
		if err != nil {
			return err
		}
		if now.Operational {
			return nil
		}
		err = events.Await(time.Until(deadline))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the host's link events: %w", err)
		}
	}
}

// Del does nothing: see Up.
func (u Up) Del(*kernel.Kernel) error { return nil }

// Check looks whether the link is up.
func (u Up) Check(k *kernel.Kernel) error {
	l, err := k.Link(u.Side, u.Name)
	if err != nil {
		return err
	}
	if !l.Up() {
		return errors.New("it is down")
	}
	return nil
}
