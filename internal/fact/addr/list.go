package addr

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
)

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
