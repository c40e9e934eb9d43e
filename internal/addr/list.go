package addr

import (
	"net/netip"

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
