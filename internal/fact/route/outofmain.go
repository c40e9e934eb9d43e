package route

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/lists"
	"github.com/catena-cni/catena/internal/netlink"
)

// OutOfMain is the main table without the routes that are in the addresses' own
// tables, so that what says no source address does not go out by the link. What
// the kernel keeps there by itself stays: the link-local subnet, and routes from
// router advertisements, which would come again.
type OutOfMain struct {
	Sources
	// Hints leaves the addresses' own subnets in the main table, with the address
	// as the preferred source.
	Hints bool
}

func (o OutOfMain) String() string {
	s := "routes pod " + o.Link + " out of the main table"
	if o.Hints {
		s += ", less the subnets with a source hint"
	}
	return s
}

// Add takes them out, or none.
func (o OutOfMain) Add(k *kernel.Kernel) error {
	if o.Idle() {
		return nil
	}
	routes, err := o.misplaced(k)
	if err != nil {
		return err
	}
	for _, r := range slices.Backward(routes) {
		if err := o.takeOut(k, r); err != nil {
			return errors.Join(err, o.Del(k))
		}
	}
	return nil
}

// misplaced are the routes of the main table that are not to be there, or not
// as they are.
func (o OutOfMain) misplaced(k *kernel.Kernel) ([]Kept, error) {
	routes, err := o.routes(k)
	return lists.Without(routes, func(r Kept) bool {
		switch {
		case r.Table != unix.RT_TABLE_MAIN, r.Dst.Addr().Is6() && r.Dst.Addr().IsLinkLocalUnicast(), r.Protocol == unix.RTPROT_RA:
			return true
		case o.Hints && o.hint(r).IsValid() && r.Src.IsValid():
			return true
		}
		return !slices.ContainsFunc(o.List, func(s Source) bool { return o.belongs(s, r.Dst, r.tells()...) })
	}), err
}

// hint is the source address for a route that is an address's own subnet.
func (o OutOfMain) hint(r Kept) netip.Addr {
	for _, s := range o.List {
		if r.rank() == 0 && r.Dst == s.Prefix.Masked() {
			return s.Prefix.Addr()
		}
	}
	return netip.Addr{}
}

func (o OutOfMain) takeOut(k *kernel.Kernel, r Kept) error {
	if err := r.Remove(k, kernel.Pod); err != nil {
		return err
	}
	hint := o.hint(r)
	if !o.Hints || !hint.IsValid() {
		return nil
	}
	return r.hinted(hint).Put(k, kernel.Pod, r.Table, r.Priority)
}

// hinted is the route as ours, with a preferred source that it did not have.
func (r Kept) hinted(src netip.Addr) Kept {
	r.header = slices.Clone(r.header)
	r.header[5], r.Protocol, r.Src = protocolOwn, protocolOwn, src
	r.attrs = append(slices.Clone(r.attrs), netlink.Bytes(unix.RTA_PREFSRC, src.AsSlice()))
	return r
}

// Del puts back what the addresses' own tables have. Where the main table does
// not take a route any more, as when it has come there again, it is left out.
func (o OutOfMain) Del(k *kernel.Kernel) error {
	routes, err := o.inOwnTables(k)
	if err != nil || len(routes) == 0 {
		return err
	}
	if err := o.removeHinted(k); err != nil {
		return err
	}
	var errs []error
	for _, r := range routes {
		if r.Protocol == protocolOwn {
			continue
		}
		metric := r.Priority
		if r.IsDefault() && metric >= behind {
			metric -= behind
		}
		errs = append(errs, r.PutBack(k, unix.RT_TABLE_MAIN, metric))
	}
	return errors.Join(errs...)
}

func (o OutOfMain) removeHinted(k *kernel.Kernel) error {
	routes, err := o.routes(k)
	errs := []error{err}
	for _, r := range routes {
		if r.Table == unix.RT_TABLE_MAIN && r.Protocol == protocolOwn {
			errs = append(errs, r.Remove(k, kernel.Pod))
		}
	}
	return errors.Join(errs...)
}

// Check looks for routes that are back, and for subnets without their hint.
func (o OutOfMain) Check(k *kernel.Kernel) error {
	if o.Idle() {
		return nil
	}
	routes, err := o.misplaced(k)
	if err != nil {
		return err
	}
	if len(routes) > 0 {
		return fmt.Errorf("the route to %v is there", routes[0].Dst)
	}
	return nil
}
