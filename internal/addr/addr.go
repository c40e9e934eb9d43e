// Package addr is the facts about addresses on interfaces.
package addr

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kernel"
)

// Addr is an address on an interface. It dies with the interface.
type Addr struct {
	Side   kernel.Side
	Link   string
	Prefix netip.Prefix
	// NoPrefixRoute keeps the kernel from adding the subnet's route by itself.
	NoPrefixRoute bool
	// Detect has the kernel look for a duplicate of an IPv6 address before the
	// address can be used (RFC 4862 section 5.4). Without it the address can be
	// used at once, as it may where the segment is ours.
	Detect bool
}

func (a Addr) String() string {
	s := fmt.Sprintf("addr %v %s %v", a.Side, a.Link, a.Prefix)
	if a.NoPrefixRoute {
		s += " noprefixroute"
	}
	if a.Detect {
		s += " dad"
	}
	return s
}

// Add gives the interface the address; one that it has already is an error.
func (a Addr) Add(k *kernel.Kernel) error {
	l, err := k.Link(a.Side, a.Link)
	if err != nil {
		return err
	}
	h, err := k.NL(a.Side)
	if err != nil {
		return err
	}
	if err := h.AddrAdd(l, a.wire()); err != nil {
		return a.explain(err)
	}
	return nil
}

func (a Addr) explain(err error) error {
	if a.Prefix.Addr().Is6() && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)) {
		return fmt.Errorf("IPv6 is off there (net/ipv6/conf/%s/disable_ipv6): %w", a.Link, err)
	}
	return err
}

func (a Addr) wire() *netlink.Addr {
	n := cni.IPNet(a.Prefix)
	w := &netlink.Addr{IPNet: &n}
	if a.NoPrefixRoute {
		w.Flags |= unix.IFA_F_NOPREFIXROUTE
	}
	if a.Prefix.Addr().Is6() && !a.Detect {
		w.Flags |= unix.IFA_F_NODAD
	}
	return w
}

// Del does nothing: see Addr.
func (a Addr) Del(*kernel.Kernel) error { return nil }

// Check looks for the address, and whether it turned out to be a duplicate.
func (a Addr) Check(k *kernel.Kernel) error {
	have, err := list(k, a.Side, a.Link, a.Prefix.Addr().Is6())
	if err != nil {
		return err
	}
	for _, h := range have {
		if cni.Prefix(*h.IPNet) != a.Prefix {
			continue
		}
		if h.Flags&unix.IFA_F_DADFAILED != 0 {
			return errors.New("somebody else on the segment has it too")
		}
		return nil
	}
	return fmt.Errorf("it is not there: %w", fs.ErrNotExist)
}

// list gives the addresses of one interface in one family.
func list(k *kernel.Kernel, side kernel.Side, link string, six bool) ([]netlink.Addr, error) {
	l, err := k.Link(side, link)
	if err != nil {
		return nil, err
	}
	h, err := k.NL(side)
	if err != nil {
		return nil, err
	}
	family := netlink.FAMILY_V4
	if six {
		family = netlink.FAMILY_V6
	}
	have, err := h.AddrList(l, family)
	if err != nil {
		return nil, fmt.Errorf("list the addresses of %s: %w", link, err)
	}
	return have, nil
}
