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
	if u.Port == "" {
		return k.SetUp(u.Side, l)
	}
	// The subscription is older than the change, so no event is missed.
	events, err := k.Dial(kernel.Host, unix.RTNLGRP_LINK)
	if err != nil {
		return err
	}
	defer events.Close()
	if err := k.SetUp(u.Side, l); err != nil {
		return err
	}
	return u.await(k, events)
}

// portWait bounds the wait for a bridge port. The kernel takes less than a
// millisecond for it; a machine that takes longer than this has other troubles,
// and the pod's first packets find the way all the same.
const portWait = 2 * time.Second

// await looks at the port after every event until it is operational.
func (u Up) await(k *kernel.Kernel, events *netlink.Conn) error {
	port, err := k.Link(kernel.Host, u.Port)
	if err != nil {
		return err
	}
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
