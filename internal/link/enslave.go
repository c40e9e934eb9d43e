package link

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/addr"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/netlink"
	"github.com/catena-cni/catena/internal/route"
)

// belongings are what an interface of the pod loses when it gets another master:
// the kernel takes it down and up again. Then IPv6 addresses are gone, unless
// keep_addr_on_down says otherwise, and so are all routes by it but those to its
// own subnets, which come again in the new master's table.
type belongings struct {
	addrs  []addr.Kept
	routes []route.Kept
}

func belongingsOf(k *kernel.Kernel, l *kernel.Link, table int) (b belongings, err error) {
	if b.addrs, err = addr.KeepIPv6(k, l); err != nil {
		return b, err
	}
	b.routes, err = route.Keep(k, kernel.Pod, l.Index)
	b.routes = slices.DeleteFunc(b.routes, func(r route.Kept) bool {
		return r.Table == table && (r.Protocol == unix.RTPROT_KERNEL || r.Protocol == unix.RTPROT_RA)
	})
	return b, err
}

// restore gives back what is lost. Routes of the table from come into the table
// to; put is how.
func (b belongings) restore(k *kernel.Kernel, l *kernel.Link, from, to int, put func(r route.Kept, table int) error) error {
	for _, a := range b.addrs {
		if err := a.Give(k, kernel.Pod, l); err != nil {
			return err
		}
	}
	if err := b.settle(k, l); err != nil {
		return err
	}
	for _, r := range b.routes {
		table := r.Table
		if table == from {
			table = to
		}
		if err := put(r, table); err != nil {
			return err
		}
	}
	return nil
}

// settle waits for the addresses that a route is to prefer: the kernel takes
// none that it is still looking for duplicates of.
func (b belongings) settle(k *kernel.Kernel, l *kernel.Link) error {
	s := addr.Settled{Link: l.Name}
	for _, r := range b.routes {
		if r.Src.Is6() {
			s.Addrs = append(s.Addrs, r.Src)
		}
	}
	return s.Add(k)
}

func setMaster(k *kernel.Kernel, l *kernel.Link, master int) error {
	return k.SetLink(kernel.Pod, l, 0, 0, netlink.U32(unix.IFLA_MASTER, uint32(master)))
}

// enslave puts an interface of the pod into a VRF with its routes, or leaves it
// as it was.
func enslave(k *kernel.Kernel, l, vrf *kernel.Link, table int) error {
	b, err := belongingsOf(k, l, unix.RT_TABLE_MAIN)
	if err != nil {
		return err
	}
	if err := setMaster(k, l, vrf.Index); err != nil {
		return err
	}
	err = b.restore(k, l, unix.RT_TABLE_MAIN, table, func(r route.Kept, table int) error {
		return r.Put(k, kernel.Pod, table, r.Priority)
	})
	if err != nil {
		return errors.Join(err, setMaster(k, l, 0), b.putBack(k, l, unix.RT_TABLE_MAIN, unix.RT_TABLE_MAIN))
	}
	return nil
}

// release takes an interface out of a VRF, and its routes back to the main
// table.
func release(k *kernel.Kernel, l *kernel.Link, table int) error {
	b, err := belongingsOf(k, l, table)
	if err != nil {
		return err
	}
	if err := setMaster(k, l, 0); err != nil {
		return err
	}
	return b.putBack(k, l, table, unix.RT_TABLE_MAIN)
}

func (b belongings) putBack(k *kernel.Kernel, l *kernel.Link, from, to int) error {
	return b.restore(k, l, from, to, func(r route.Kept, table int) error { return r.PutBack(k, table, r.Priority) })
}
