package route

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// PerSourceTable is the main table's routes by the link in the table of each
// address as well, and a default route there. A route belongs to the addresses
// whose subnet has its gateway or its preferred source; one with neither, or
// whose gateway is on no subnet of the link's, belongs to all of its family.
type PerSourceTable struct{ Sources }

func (s PerSourceTable) String() string {
	return fact.Text("routes pod", s.Link, "in the table of", fact.Words("", s.List))
}

func (s Source) String() string {
	return fact.Text(s.Prefix.String(), fact.Word("default via", s.Gateway), fact.Word("first", s.Instead && s.Gateway.IsValid()))
}

// Ledger: the tables have what is to come back into the main one.
func (PerSourceTable) Ledger() {}

// demotedMetric is added to the metric of a default route that a gateway of the
// configuration precedes. So DEL finds the route there still, to put it back.
const demotedMetric = 1 << 30

func (s PerSourceTable) Add(k *kernel.Kernel) error {
	routes, err := s.routes(k)
	if err != nil {
		return err
	}
	tables, err := s.tables(k)
	if err != nil {
		return err
	}
	for _, source := range s.List {
		table, there := tables[source.Prefix.Addr()]
		if !there {
			return fmt.Errorf("the rule from %v has gone: %w", source.Prefix.Addr(), fs.ErrNotExist)
		}
		if err := s.fill(k, source, table, routes); err != nil {
			return errors.Join(err, s.Del(k))
		}
	}
	return nil
}

// routes are those that go by the link, of all tables.
func (s Sources) routes(k *kernel.Kernel) ([]Kept, error) {
	l, err := k.Link(kernel.Pod, s.Link)
	if err != nil {
		return nil, err
	}
	return Keep(k, l.Index)
}

func (s PerSourceTable) fill(k *kernel.Kernel, source Source, table int, routes []Kept) error {
	needs := source.Gateway.IsValid()
	for _, r := range routes {
		if r.Table != unix.RT_TABLE_MAIN || !s.belongs(source, r.Dst, r.addrs()...) {
			continue
		}
		metric := r.Priority
		if r.IsDefault() && source.Instead {
			metric += demotedMetric
		}
		needs = needs && (source.Instead || !r.IsDefault())
		if err := r.Put(k, table, metric); err != nil {
			return err
		}
	}
	if !needs {
		return nil
	}
	out := s.defaultRoute(source, table)
	if err := out.Add(k); err != nil {
		return fmt.Errorf("%v: %w", out, err)
	}
	return nil
}

func (s PerSourceTable) defaultRoute(source Source, table int) Route {
	everything := defaults[1]
	if source.Prefix.Addr().Is4() {
		everything = defaults[0]
	}
	return Route{
		Side: kernel.Pod, Link: s.Link, Dst: everything, Via: []netip.Addr{source.Gateway}, Table: table, protocol: protocolOwn,
		OnLink: !source.Prefix.Contains(source.Gateway) && !IsLinkLocal(source.Gateway),
	}
}

// addrs are the addresses that say which subnet a route belongs to.
func (r Kept) addrs() []netip.Addr { return append(r.gateways(), r.Src) }

func (r Kept) gateways() (out []netip.Addr) {
	for _, h := range r.hops {
		out = append(out, h.via)
	}
	return out
}

// Del removes the link's routes from the attachment's own tables. With the link
// they are gone.
func (s PerSourceTable) Del(k *kernel.Kernel) error {
	routes, err := s.inOwnTables(k)
	slices.Reverse(routes)
	return errors.Join(err, fact.ForEach(routes, func(r Kept) error { return r.Remove(k) }))
}

// inOwnTables are the link's routes in the attachment's own tables. Where the
// link or the pod is gone there are none.
func (s Sources) inOwnTables(k *kernel.Kernel) ([]Kept, error) {
	tables, err := s.tables(k)
	if err != nil || len(tables) == 0 {
		return nil, err
	}
	routes, err := s.routes(k)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return slices.DeleteFunc(routes, func(r Kept) bool {
		for from, table := range tables {
			if r.Table == table && r.Dst.Addr().Is4() == from.Is4() {
				return false
			}
		}
		return true
	}), err
}

func (s PerSourceTable) Check(k *kernel.Kernel) error {
	tables, err := s.anyTables(k)
	if err != nil {
		return err
	}
	routes, err := s.routes(k)
	if err != nil {
		return err
	}
	for _, source := range s.List {
		table, ruled := tables[source.Prefix.Addr()]
		if !ruled {
			return fmt.Errorf("no rule leads from %v to a table: %w", source.Prefix.Addr(), fs.ErrNotExist)
		}
		if err := s.compare(source, table, routes); err != nil {
			return fmt.Errorf("table %d of %v: %w", table, source.Prefix.Addr(), err)
		}
	}
	return nil
}

func (s PerSourceTable) compare(source Source, table int, routes []Kept) error {
	routes = slices.DeleteFunc(slices.Clone(routes), func(r Kept) bool {
		return r.Table != table || r.Dst.Addr().Is4() != source.Prefix.Addr().Is4()
	})
	if len(routes) == 0 {
		return fmt.Errorf("it has no route by %s: %w", s.Link, fs.ErrNotExist)
	}
	var wanted []netip.Prefix
	for _, r := range s.Routes {
		if r.Table == 0 && s.belongs(source, r.Dst, append(r.Via, r.Src)...) {
			wanted = append(wanted, r.Dst)
		}
	}
	if source.Gateway.IsValid() {
		wanted = append(wanted, s.defaultRoute(source, table).Dst)
	}
	for _, dst := range wanted {
		if !slices.ContainsFunc(routes, func(r Kept) bool { return r.Dst == dst && s.precedes(source, r) }) {
			return fmt.Errorf("it has no such route to %v: %w", dst, fs.ErrNotExist)
		}
	}
	return nil
}

// precedes reports whether a route, if it is a default route, is the one that is
// to come before the others.
func (s PerSourceTable) precedes(source Source, r Kept) bool {
	return !r.IsDefault() || !source.Instead || r.Priority < demotedMetric && slices.Contains(r.gateways(), source.Gateway)
}
