package addr

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// Settled is that duplicate address detection (DAD) of IPv6 addresses is over, and
// has found none. It dies with the interface.
type Settled struct {
	fact.Stays
	Link  string
	Addrs []netip.Addr
}

func (s Settled) String() string { return fmt.Sprintf("dad  pod %s %v", s.Link, s.Addrs) }

// settleWait bounds the wait. The kernel takes a second or two (RFC 4862
// section 5.4: one probe, after a random delay).
const settleWait = 10 * time.Second

// Add waits for the kernel's word on each address.
func (s Settled) Add(k *kernel.Kernel) error {
	if len(s.Addrs) == 0 {
		return nil
	}
	l, err := k.Link(kernel.Pod, s.Link)
	if err != nil {
		return err
	}
	// Without a carrier the kernel does not even begin to look.
	if l, err = k.LinkAt(kernel.Pod, l.Index); err != nil || !l.Operational && !l.Running() {
		return err
	}
	var pending []netip.Addr
	err = k.Await(context.Background(), kernel.Pod, unix.RTNLGRP_IPV6_IFADDR, settleWait, func() (_ bool, err error) {
		pending, err = s.pending(k)
		return len(pending) == 0, err
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%v is not settled after %v: is the link's other end up?", pending, settleWait)
	}
	return err
}

// pending gives the addresses whose DAD is not over. An address with a duplicate
// is an error.
func (s Settled) pending(k *kernel.Kernel) (pending []netip.Addr, err error) {
	have, err := list(k, kernel.Pod, s.Link, netlink.FAMILY_V6)
	if err != nil {
		return nil, err
	}
	for _, a := range have {
		ip := prefix(a).Addr()
		switch {
		case !slices.Contains(s.Addrs, ip):
		case a.Flags&unix.IFA_F_DADFAILED != 0:
			return nil, fmt.Errorf("%v is in use by somebody else on the segment", ip)
		case a.Flags&unix.IFA_F_TENTATIVE != 0:
			pending = append(pending, ip)
		}
	}
	return pending, nil
}

// Check looks for a duplicate that was found since.
func (s Settled) Check(k *kernel.Kernel) error {
	_, err := s.pending(k)
	return err
}
