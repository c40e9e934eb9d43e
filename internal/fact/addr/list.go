package addr

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
)

// List gives the addresses of an interface, those of IPv4 first.
func List(k *kernel.Kernel, side kernel.Side, link string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, six := range []bool{false, true} {
		have, err := list(k, side, link, six)
		if err != nil {
			return nil, err
		}
		for _, h := range have {
			out = append(out, h.prefix)
		}
	}
	return out, nil
}

// HasLinkLocal reports whether an interface has an IPv6 address of the link's
// scope that it can send from: the kernel looks for a duplicate of it first.
func HasLinkLocal(k *kernel.Kernel, side kernel.Side, link string) (bool, error) {
	have, err := list(k, side, link, true)
	for _, h := range have {
		usable := h.flags&unix.IFA_F_TENTATIVE == 0 || h.flags&unix.IFA_F_OPTIMISTIC != 0
		if h.prefix.Addr().IsLinkLocalUnicast() && usable && h.flags&unix.IFA_F_DADFAILED == 0 {
			return true, nil
		}
	}
	return false, err
}
