package route

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/netlink"
)

// unreachableMetric is worse than that of every other route; the number is that
// of the kernel's documentation of VRFs (networking/vrf.rst).
const unreachableMetric = 4278198272

// Unreachable ends the lookup in a table of the pod with an error, for both
// families, where it would go on in the main table. That it does so already is
// success, and so is a kernel without IPv6.
func Unreachable(k *kernel.Kernel, table int) error { return unreachable(k, table, true) }

// Reachable takes that back. It must be, for these routes are on no link, and
// die with none.
func Reachable(k *kernel.Kernel, table int) error { return unreachable(k, table, false) }

func unreachable(k *kernel.Kernel, table int, there bool) error {
	c, err := k.Conn(kernel.Pod)
	if err != nil {
		return err
	}
	kind, flags, well := uint16(unix.RTM_DELROUTE), uint16(0), []error{unix.ESRCH, fs.ErrNotExist}
	if there {
		kind, flags, well = unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, []error{fs.ErrExist}
	}
	var errs []error
	for _, family := range families {
		header := []byte{family, 0, 0, 0, tableByte(table), protocolOwn, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNREACHABLE, 0, 0, 0, 0}
		attrs := netlink.Join(netlink.U32(unix.RTA_TABLE, uint32(table)), netlink.U32(unix.RTA_PRIORITY, unreachableMetric))
		_, err := c.Request(netlink.Message{Type: kind, Flags: flags, Body: append(header, attrs...)})
		if family == unix.AF_INET6 {
			well = append(well, unix.EOPNOTSUPP, unix.EAFNOSUPPORT)
		}
		if !among(err, well) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// among reports whether an error is none, or one of those.
func among(err error, causes []error) bool {
	for _, cause := range causes {
		if errors.Is(err, cause) {
			return true
		}
	}
	return err == nil
}
