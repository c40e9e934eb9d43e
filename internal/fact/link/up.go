package link

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// Up is the pod's interface being up. It dies with it.
type Up struct {
	fact.Stays
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
	s := "up   pod " + u.Name
	if u.Port != "" {
		s += " until host " + u.Port + " forwards"
	}
	return s + fact.Word(", with arp_notify", u.ARPNotify)
}

func (u Up) Add(k *kernel.Kernel) error {
	l, err := k.Link(kernel.Pod, u.Name)
	if err != nil {
		return err
	}
	var attrs []*nl.RtAttr
	if u.Alias != "" {
		attrs = append(attrs, kernel.Alias(u.Alias))
	}
	err = k.Outlast(unix.EADDRINUSE, func() error { // a macvlan cannot be up beside another one of its address
		if u.ARPNotify {
			return setUp(k, kernel.Pod, l, arpNotify(), attrs...)
		}
		return k.SetUp(kernel.Pod, l, attrs...)
	})
	if err != nil || u.Port == "" {
		return err
	}
	return u.await(k)
}

// portWait bounds the wait for a bridge port. The kernel takes less than a
// millisecond for it; a machine that takes longer than this has other troubles,
// and the pod's first packets find the way all the same.
const portWait = 2 * time.Second

// await looks at the port until it is operational. The kernel makes it so before
// it answers, mostly.
func (u Up) await(k *kernel.Kernel) error {
	k.Invalidate(kernel.Host, u.Port)
	port, err := k.Link(kernel.Host, u.Port)
	if err != nil || port.Operational {
		return err
	}
	err = k.Await(context.Background(), kernel.Host, unix.RTNLGRP_LINK, portWait, func() (bool, error) {
		now, err := k.LinkAt(kernel.Host, port.Index)
		return err == nil && now.Operational, err
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

func (u Up) Check(k *kernel.Kernel) error {
	l, err := k.Link(kernel.Pod, u.Name)
	return isUp(l, err)
}

// isUp is the error of a link that was not found, or is down.
func isUp(l *kernel.Link, err error) error {
	if err == nil && !l.Up() {
		err = errors.New("it is down")
	}
	return err
}
