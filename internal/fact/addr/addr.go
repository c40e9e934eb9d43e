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
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// Addr is an address on an interface. It dies with the interface.
type Addr struct {
	fact.Stays
	Side   kernel.Side
	Link   string
	Prefix netip.Prefix
	// NoPrefixRoute keeps the kernel from adding the subnet's route by itself.
	NoPrefixRoute bool
	// Detect says what becomes of an IPv6 address until the kernel has looked
	// for a duplicate of it.
	Detect Detection
}

// Detection is how duplicates of an IPv6 address are looked for (RFC 4862
// section 5.4). IPv4 addresses have none.
type Detection string

const (
	// Off uses the address at once and does not look, as may be done where the
	// segment is ours.
	Off Detection = ""
	// Wait looks first.
	Wait Detection = "wait"
	// Optimistic uses the address while the kernel looks (RFC 4429).
	Optimistic Detection = "optimistic"
)

func (a Addr) String() string {
	s := fact.Text(fmt.Sprintf("addr %v %s %v", a.Side, a.Link, a.Prefix), fact.Word("noprefixroute", a.NoPrefixRoute))
	if a.Prefix.Addr().Is6() {
		s = fact.Text(s, fact.Word("dad", a.Detect))
	}
	return s
}

// Add gives the interface the address; one that it has already is an error. No
// two ipvlans of a master can have it.
func (a Addr) Add(k *kernel.Kernel) error {
	err := k.Outlast(unix.EADDRINUSE, func() error { return a.change(k, (*netlink.Handle).AddrAdd) })
	if err == nil || a.Prefix.Addr().Is4() {
		return err
	}
	if errors.Is(err, unix.EACCES) {
		return fmt.Errorf("IPv6 is off there (net/ipv6/conf/%s/disable_ipv6): %w", a.Link, err)
	}
	if l, lerr := k.Link(a.Side, a.Link); lerr == nil && l.MTU < MTUMin6 {
		return fmt.Errorf("the mtu of %s is %d, and IPv6 needs %d or more (RFC 8200): %w", a.Link, l.MTU, MTUMin6, err)
	}
	return err
}

// MTUMin6 is the smallest MTU that the kernel has IPv6 on a link with (RFC 8200
// section 5).
const MTUMin6 = 1280

func (a Addr) flags() (f int) {
	if a.NoPrefixRoute {
		f |= unix.IFA_F_NOPREFIXROUTE
	}
	switch {
	case a.Prefix.Addr().Is4():
	case a.Detect == Off:
		f |= unix.IFA_F_NODAD
	case a.Detect == Optimistic:
		f |= unix.IFA_F_OPTIMISTIC
	}
	return f
}

// change makes a typed call about the address.
func (a Addr) change(k *kernel.Kernel, call func(*netlink.Handle, netlink.Link, *netlink.Addr) error) error {
	l, err := k.Link(a.Side, a.Link)
	if err != nil {
		return err
	}
	subnet := cni.IPNet(a.Prefix)
	return k.Call(a.Side, func(h *netlink.Handle) error {
		return call(h, l.Typed, &netlink.Addr{IPNet: &subnet, Flags: a.flags()})
	})
}

// Remove takes the address from an interface that stays. One that it does not
// have is success.
func (a Addr) Remove(k *kernel.Kernel) error {
	return kernel.Gone(a.change(k, (*netlink.Handle).AddrDel))
}

// Check looks for the address, and whether it turned out to be a duplicate.
func (a Addr) Check(k *kernel.Kernel) error {
	have, err := list(k, a.Side, a.Link, family(a.Prefix.Addr()))
	if err != nil {
		return err
	}
	for _, h := range have {
		if prefix(h) != a.Prefix {
			continue
		}
		if h.Flags&unix.IFA_F_DADFAILED != 0 {
			return errors.New("somebody else on the segment has it too")
		}
		return nil
	}
	return fmt.Errorf("it is not there: %w", fs.ErrNotExist)
}

// List gives the addresses of an interface, those of IPv4 first.
func List(k *kernel.Kernel, side kernel.Side, link string) ([]netip.Prefix, error) {
	have, err := list(k, side, link, netlink.FAMILY_ALL)
	var out []netip.Prefix
	for _, h := range have {
		out = append(out, prefix(h))
	}
	return out, err
}

// list gives the addresses of one interface in one family.
func list(k *kernel.Kernel, side kernel.Side, link string, family int) ([]netlink.Addr, error) {
	l, err := k.Link(side, link)
	if err != nil {
		return nil, err
	}
	have, err := kernel.ListOf(k, side, func(h *netlink.Handle) ([]netlink.Addr, error) { return h.AddrList(l.Typed, family) })
	if err != nil {
		return nil, fmt.Errorf("list the addresses of %s: %w", link, err)
	}
	return have, nil
}

func family(a netip.Addr) int {
	if a.Is6() {
		return netlink.FAMILY_V6
	}
	return netlink.FAMILY_V4
}

// prefix is an address with the length of its subnet. Where the address has a
// peer, the library keeps that length with the peer.
func prefix(a netlink.Addr) netip.Prefix {
	ip, _ := netip.AddrFromSlice(a.IP)
	subnet := a.IPNet
	if a.Peer != nil {
		subnet = a.Peer
	}
	bits, _ := subnet.Mask.Size()
	return netip.PrefixFrom(ip, bits)
}

// HasLinkLocal reports whether an interface has an IPv6 address of the link's
// scope that it can send from: the kernel looks for a duplicate of it first.
func HasLinkLocal(k *kernel.Kernel, side kernel.Side, link string) (bool, error) {
	have, err := list(k, side, link, netlink.FAMILY_V6)
	for _, h := range have {
		usable := h.Flags&unix.IFA_F_TENTATIVE == 0 || h.Flags&unix.IFA_F_OPTIMISTIC != 0
		if h.IP.IsLinkLocalUnicast() && usable && h.Flags&unix.IFA_F_DADFAILED == 0 {
			return true, nil
		}
	}
	return false, err
}
