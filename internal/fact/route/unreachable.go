package route

import (
	"errors"
	"io/fs"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kernel"
)

// unreachableMetric is worse than that of every other route; the number is that
// of the kernel's documentation of VRFs (networking/vrf.rst).
const unreachableMetric = 4278198272

// Unreachable ends the lookup in a table of the pod with an error, for both
// families; without it, the lookup would go on in the main table. It is success
// where the route is there already, or the kernel has no IPv6.
func Unreachable(k *kernel.Kernel, table int) error { return unreachable(k, table, true) }

// Reachable takes that back. These routes are on no link, so they do not die with
// one.
func Reachable(k *kernel.Kernel, table int) error { return unreachable(k, table, false) }

func unreachable(k *kernel.Kernel, table int, there bool) error {
	call, well := (*netlink.Handle).RouteDel, []error{unix.ESRCH, fs.ErrNotExist}
	if there {
		call, well = (*netlink.Handle).RouteAdd, []error{fs.ErrExist}
	}
	var errs []error
	for _, everything := range defaults {
		dst := cni.IPNet(everything)
		err := k.Call(kernel.Pod, func(h *netlink.Handle) error {
			return call(h, &netlink.Route{
				Dst: &dst, Table: table, Priority: unreachableMetric, Protocol: protocolOwn, Type: unix.RTN_UNREACHABLE,
			})
		})
		if everything.Addr().Is6() {
			well = append(well, unix.EOPNOTSUPP, unix.EAFNOSUPPORT)
		}
		if !among(err, well) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// defaults are the prefixes that a default route is for.
var defaults = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}

// among reports whether an error is none, or one of those.
func among(err error, causes []error) bool {
	for _, cause := range causes {
		if errors.Is(err, cause) {
			return true
		}
	}
	return err == nil
}
