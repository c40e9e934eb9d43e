package link

import (
	"errors"
	"io/fs"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact/addr"
	"github.com/catena-cni/catena/internal/fact/route"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// belongings are what an interface of the pod loses when it gets another master:
// the kernel takes it down and up again. Then IPv6 addresses are gone, unless
// keep_addr_on_down says otherwise, and so are next hop objects and all routes by
// it, but those to its own subnets, which come again in the new master's table.
type belongings struct {
	addrs  []addr.Kept
	routes []route.Kept
}

func belongingsOf(k *kernel.Kernel, l *kernel.Link, table int) (b belongings, err error) {
	if b.addrs, err = addr.KeepIPv6(k, l); err != nil {
		return b, err
	}
	b.routes, err = route.Keep(k, kernel.Pod, l.Index)
	b.routes = slices.DeleteFunc(slices.Clone(b.routes), func(r route.Kept) bool {
		return r.Table == table && (r.Protocol == unix.RTPROT_KERNEL || r.Protocol == unix.RTPROT_RA)
	})
	for i, r := range b.routes {
		b.routes[i] = r.WithoutObject()
	}
	return b, err
}

// giveAddrs gives back the addresses that are lost.
func (b belongings) giveAddrs(k *kernel.Kernel, l *kernel.Link) error {
	var errs []error
	for _, a := range b.addrs {
		errs = append(errs, a.Give(k, kernel.Pod, l))
	}
	return errors.Join(errs...)
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

func setMaster(k *kernel.Kernel, l *kernel.Link, master int, attrs ...*nl.RtAttr) error {
	return k.SetLink(kernel.Pod, l, 0, 0, append(attrs, kernel.Master(master))...)
}

// enslave puts an interface of the pod into a VRF with its routes, or leaves it
// as it was. One that has no alias gets the attachment's, for DEL to know it by.
func enslave(k *kernel.Kernel, l, vrf *kernel.Link, table int, owner name.Attachment) error {
	b, err := belongingsOf(k, l, unix.RT_TABLE_MAIN)
	if err != nil {
		return err
	}
	var alias []*nl.RtAttr
	if l.Alias == "" {
		alias = append(alias, kernel.Alias(owner.Alias()))
	}
	if err := setMaster(k, l, vrf.Index, alias...); err != nil {
		return err
	}
	if err := b.follow(k, l, table); err != nil {
		return errors.Join(err, setMaster(k, l, 0), b.putBack(k, l, 0))
	}
	return nil
}

// follow brings them into a VRF's table.
func (b belongings) follow(k *kernel.Kernel, l *kernel.Link, table int) error {
	if err := errors.Join(b.giveAddrs(k, l), b.settle(k, l)); err != nil {
		return err
	}
	for _, r := range b.routes {
		to := r.Table
		if to == unix.RT_TABLE_MAIN {
			to = table
		}
		if err := r.Put(k, kernel.Pod, to, r.Priority); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
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
	return b.putBack(k, l, table)
}

// putBack brings them back, those of a VRF's table into the main one. A source
// that does not settle is none that a route could prefer: such a route is left
// out.
func (b belongings) putBack(k *kernel.Kernel, l *kernel.Link, table int) error {
	errs := []error{b.giveAddrs(k, l)}
	_ = b.settle(k, l)
	for _, r := range b.routes {
		to := r.Table
		if to == table {
			to = unix.RT_TABLE_MAIN
		}
		errs = append(errs, r.PutBack(k, to, r.Priority))
	}
	return errors.Join(errs...)
}
