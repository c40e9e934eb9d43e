package route

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// MoveFromMain is the main table without the routes that are in the addresses'
// own tables, so that a packet without a source address does not leave by the
// link. What the kernel keeps there by itself stays: the link-local subnet, and
// routes from router advertisements, which would come again.
type MoveFromMain struct {
	Sources
	// Hints leaves the addresses' own subnets in the main table, with the address
	// as the preferred source.
	Hints bool
}

func (m MoveFromMain) String() string {
	return fact.Text("routes pod", m.Link, "out of the main table"+fact.Word(", less the subnets with a source hint", m.Hints))
}

func (m MoveFromMain) Add(k *kernel.Kernel) error {
	routes, err := m.misplaced(k)
	if err != nil {
		return err
	}
	for _, r := range slices.Backward(routes) {
		if err := m.takeOut(k, r); err != nil {
			return err
		}
	}
	return nil
}

// misplaced are the routes of the main table that must go, or must get a source
// hint.
func (m MoveFromMain) misplaced(k *kernel.Kernel) ([]Kept, error) {
	routes, err := m.routes(k)
	return slices.DeleteFunc(routes, func(r Kept) bool {
		switch {
		case r.Table != unix.RT_TABLE_MAIN, r.Dst.Addr().Is6() && r.Dst.Addr().IsLinkLocalUnicast(), r.Protocol == unix.RTPROT_RA:
			return true
		case m.Hints && m.hint(r).IsValid() && r.Src.IsValid():
			return true
		}
		return !slices.ContainsFunc(m.List, func(s Source) bool { return m.belongs(s, r.Dst, r.addrs()...) })
	}), err
}

// hint is the source address for a route that is an address's own subnet.
func (m MoveFromMain) hint(r Kept) netip.Addr {
	for _, s := range m.List {
		if r.rank() == 0 && r.Dst == s.Prefix.Masked() {
			return s.Prefix.Addr()
		}
	}
	return netip.Addr{}
}

func (m MoveFromMain) takeOut(k *kernel.Kernel, r Kept) error {
	if err := r.Remove(k); err != nil {
		return err
	}
	hint := m.hint(r)
	if !m.Hints || !hint.IsValid() {
		return nil
	}
	return r.withSource(hint).Put(k, r.Table, r.Priority)
}

// withSource is the route as ours, with a preferred source that it did not have.
func (r Kept) withSource(src netip.Addr) Kept {
	r.header.Protocol, r.Protocol, r.Src = protocolOwn, protocolOwn, src
	r.attrs = append(slices.Clone(r.attrs), nl.NewRtAttr(unix.RTA_PREFSRC, src.AsSlice()))
	return r
}

// Del puts back what the addresses' own tables have. It leaves out a route that the
// main table does not take any more, as when it has come there again.
func (m MoveFromMain) Del(k *kernel.Kernel) error {
	routes, err := m.inOwnTables(k)
	if err != nil || len(routes) == 0 {
		return err
	}
	if err := m.removeWithSource(k); err != nil {
		return err
	}
	return fact.ForEach(routes, func(r Kept) error {
		metric := r.Priority
		switch {
		case r.Protocol == protocolOwn:
			return nil
		case r.IsDefault() && metric >= demotedMetric:
			metric -= demotedMetric
		}
		return r.PutBack(k, unix.RT_TABLE_MAIN, metric)
	})
}

func (m MoveFromMain) removeWithSource(k *kernel.Kernel) error {
	routes, err := m.routes(k)
	return errors.Join(err, fact.ForEach(routes, func(r Kept) error {
		if r.Table != unix.RT_TABLE_MAIN || r.Protocol != protocolOwn {
			return nil
		}
		return r.Remove(k)
	}))
}

// Check looks for routes that are back, and for subnets without their hint.
func (m MoveFromMain) Check(k *kernel.Kernel) error {
	routes, err := m.misplaced(k)
	if err != nil {
		return err
	}
	if len(routes) > 0 {
		return fmt.Errorf("the route to %v is there", routes[0].Dst)
	}
	return nil
}
