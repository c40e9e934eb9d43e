package link

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
)

const flagPromisc = unix.IFF_PROMISC

// Up is a link being up. It dies with the link.
type Up struct {
	Side kernel.Side
	Name string
	// Port names the host's bridge port that passes no frames until both ends
	// of its pair are up. Where it is given, Add returns when it does.
	Port string
}

func (u Up) String() string {
	s := fmt.Sprintf("up   %v %s", u.Side, u.Name)
	if u.Port != "" {
		s += " until host " + u.Port + " forwards"
	}
	return s
}

// Add brings the link up.
func (u Up) Add(k *kernel.Kernel) error {
	l, err := k.Link(u.Side, u.Name)
	if err != nil {
		return err
	}
	h, err := k.NL(u.Side)
	if err != nil {
		return err
	}
	if u.Port == "" {
		return h.LinkSetUp(l)
	}
	events, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err != nil {
		return fmt.Errorf("subscribe to the host's link events: %w", err)
	}
	defer events.Close()
	if err := h.LinkSetUp(l); err != nil {
		return err
	}
	return u.await(k, events)
}

// portWait bounds the wait for a bridge port. The kernel takes less than a
// millisecond for it; a machine that takes longer than this has other troubles,
// and the pod's first packets find the way all the same.
const portWait = 2 * time.Second

// await reads link events until the port is operational. The subscription is
// older than the change, so no event is missed.
func (u Up) await(k *kernel.Kernel, events *nl.NetlinkSocket) error {
	port, err := k.Link(kernel.Host, u.Port)
	if err != nil {
		return err
	}
	h, err := k.NL(kernel.Host)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(portWait); ; {
		now, err := h.LinkByIndex(port.Attrs().Index)
		if err != nil {
			return kernel.Cause(err)
		}
		if now.Attrs().OperState == netlink.OperUp {
			return nil
		}
		left := time.Until(deadline)
		if left <= 0 {
			return nil
		}
		timeout := unix.NsecToTimeval(int64(left))
		if err := events.SetReceiveTimeout(&timeout); err != nil {
			return err
		}
		if _, _, err := events.Receive(); err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ENOBUFS) {
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
	if l.Attrs().Flags&net.FlagUp == 0 {
		return errors.New("it is down")
	}
	return nil
}
