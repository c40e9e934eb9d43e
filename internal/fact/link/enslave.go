package link

import (
	"errors"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/addr"
	"github.com/catena-cni/catena/internal/fact/route"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// snapshot is what an interface of the pod loses when it gets another master:
// the kernel takes it down and up again. Then IPv6 addresses are gone, unless
// keep_addr_on_down says otherwise, and so are next hop objects and all routes by
// it, but those to its own subnets, which come again in the new master's table.
type snapshot struct {
	addrs  []addr.Kept
	routes []route.Kept
}

// takeSnapshot looks at an interface whose routes are in a table.
func takeSnapshot(k *kernel.Kernel, l *kernel.Link, table int) (s snapshot, err error) {
	if s.addrs, err = addr.KeepIPv6(k, l); err != nil {
		return s, err
	}
	s.routes, err = route.Keep(k, l.Index)
	s.routes = slices.DeleteFunc(s.routes, func(r route.Kept) bool {
		return r.Table == table && (r.Protocol == unix.RTPROT_KERNEL || r.Protocol == unix.RTPROT_RA)
	})
	for i, r := range s.routes {
		s.routes[i] = r.WithoutObject()
	}
	return s, err
}

// restoreAddrs gives the interface the lost addresses back.
func (s snapshot) restoreAddrs(k *kernel.Kernel, l *kernel.Link) error {
	return fact.ForEach(s.addrs, func(a addr.Kept) error { return a.Give(k, kernel.Pod, l) })
}

// awaitSources waits for the addresses that a route is to prefer: the kernel
// takes none that it is still looking for duplicates of.
func (s snapshot) awaitSources(k *kernel.Kernel, l *kernel.Link) error {
	sources := addr.Settled{Link: l.Name}
	for _, r := range s.routes {
		if r.Src.Is6() {
			sources.Addrs = append(sources.Addrs, r.Src)
		}
	}
	return sources.Add(k)
}

func setMaster(k *kernel.Kernel, l *kernel.Link, master int, attrs ...*nl.RtAttr) error {
	return k.SetLink(kernel.Pod, l, 0, 0, append(attrs, kernel.Master(master))...)
}

// enslave puts an interface of the pod into a VRF with its routes, or leaves it
// as it was. One that has no alias gets the attachment's, for DEL to know it by.
func enslave(k *kernel.Kernel, l, vrf *kernel.Link, owner name.Attachment) error {
	s, err := takeSnapshot(k, l, unix.RT_TABLE_MAIN)
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
	err = errors.Join(s.restoreAddrs(k, l), s.awaitSources(k, l))
	if err == nil {
		err = s.putRoutes(k, unix.RT_TABLE_MAIN, vrf.Table(), route.Kept.Put)
	}
	if err != nil {
		return errors.Join(err, setMaster(k, l, 0), s.restoreToMain(k, l, 0))
	}
	return nil
}

// release takes an interface out of a VRF, and its routes back to the main
// table.
func release(k *kernel.Kernel, l, vrf *kernel.Link) error {
	s, err := takeSnapshot(k, l, vrf.Table())
	if err != nil {
		return err
	}
	if err := setMaster(k, l, 0); err != nil {
		return err
	}
	return s.restoreToMain(k, l, vrf.Table())
}

// restoreToMain gives the addresses back, and the routes, those of a VRF's table
// in the main one. A source that does not settle is none that a route could
// prefer: such a route is left out.
func (s snapshot) restoreToMain(k *kernel.Kernel, l *kernel.Link, table int) error {
	err := s.restoreAddrs(k, l)
	_ = s.awaitSources(k, l)
	return errors.Join(err, s.putRoutes(k, table, unix.RT_TABLE_MAIN, route.Kept.PutBack))
}

// putRoutes puts the routes where they were, those of one table into another.
func (s snapshot) putRoutes(k *kernel.Kernel, from, to int, put func(r route.Kept, k *kernel.Kernel, table, priority int) error) error {
	return fact.ForEach(s.routes, func(r route.Kept) error {
		table := r.Table
		if table == from {
			table = to
		}
		return put(r, k, table, r.Priority)
	})
}
