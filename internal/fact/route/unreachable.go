package route

import (
	"errors"
	"io/fs"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// unreachableMetric is worse than that of every other route; the number is that
// of the kernel's documentation of VRFs (networking/vrf.rst).
const unreachableMetric = 4278198272

// Unreachable ends the lookup in a table of the pod with an error, for both
// families; without it, the lookup would go on in the main table. It is success
// where the route is there already, or the kernel has no IPv6.
func Unreachable(k *kernel.Kernel, table int) error {
	return fact.ForEach(families, func(family uint8) error {
		err := unreachable(k, unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, family, table)
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	})
}

// Reachable takes that back. These routes are on no link, so they do not die with
// one.
func Reachable(k *kernel.Kernel, table int) error {
	return fact.ForEach(families, func(family uint8) error {
		return kernel.Gone(unreachable(k, unix.RTM_DELROUTE, 0, family, table))
	})
}

// unreachable makes the request by nl: the library has metrics as int, which has
// no room for this one where that has 32 bits.
func unreachable(k *kernel.Kernel, kind, flags int, family uint8, table int) error {
	m := nl.NewRtMsg()
	m.Family, m.Table, m.Protocol, m.Type = family, unix.RT_TABLE_UNSPEC, protocolOwn, unix.RTN_UNREACHABLE
	err := k.Change(kernel.Pod, kind, flags, m, kernel.Number(unix.RTA_TABLE, table), kernel.Number(unix.RTA_PRIORITY, uint32(unreachableMetric)))
	if family == unix.AF_INET6 && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)) {
		return nil
	}
	return err
}

// defaults are the prefixes that a default route is for.
var defaults = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
