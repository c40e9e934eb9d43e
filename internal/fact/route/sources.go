package route

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/addr"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// Source is an address of the pod's interface and what leads out of the table
// that its packets are looked up in.
type Source struct {
	Prefix netip.Prefix
	// Gateway is the next hop of the default route, where there is one.
	Gateway netip.Addr
	// Instead puts the gateway before the default routes of the main table.
	// Otherwise it is used where the main table has none.
	Instead bool
}

// Sources are the addresses of an attachment.
type Sources struct {
	Owner name.Attachment
	Link  string
	List  []Source
	// Routes are those that the main table had by the link. CHECK looks for them.
	Routes []Route
	// Table is the table of all of them, 0 for one of its own for each.
	Table int
}

// firstTable is where upstream begins to count.
const firstTable = 100

// own is the label of rules to tables of the attachment's own, which DEL empties;
// given is that of rules to a table of the configuration, which DEL leaves alone.
func (s Sources) own() uint32   { return s.Owner.Label("rule") }
func (s Sources) given() uint32 { return s.Owner.Label("rule to a given table") }

func (s Sources) addrs() (out []netip.Addr) {
	for _, source := range s.List {
		out = append(out, source.Prefix.Addr())
	}
	return out
}

// belongs reports whether a route is to be in the table of an address: where its
// gateways or its preferred source are in the address's subnet, or in none.
func (s Sources) belongs(to Source, dst netip.Prefix, addrs ...netip.Addr) bool {
	has := func(o Source) bool { return slices.ContainsFunc(addrs, o.Prefix.Contains) }
	return dst.Addr().Is4() == to.Prefix.Addr().Is4() && (has(to) || !slices.ContainsFunc(s.List, has))
}

// tables gives the table of each address, as the attachment's rules have it.
// Without a pod there are none.
func (s Sources) tables(k *kernel.Kernel) (map[netip.Addr]int, error) {
	if !k.Has(kernel.Pod) {
		return nil, nil
	}
	all, err := rules(k, kernel.Pod)
	return tablesOf(labelled(all, s.own())), err
}

// anyTables is tables, or what upstream's rules say where there are none of ours.
func (s Sources) anyTables(k *kernel.Kernel) (map[netip.Addr]int, error) {
	all, err := rules(k, kernel.Pod)
	if mine := labelled(all, s.own()); len(mine) > 0 {
		return tablesOf(mine), err
	}
	return tablesOf(upstreams(all)), err
}

func tablesOf(list []rule) map[netip.Addr]int {
	out := map[netip.Addr]int{}
	for _, r := range list {
		out[r.src.Addr()] = r.table
	}
	return out
}

// Idle says that others fill the table: facts about the attachment's own tables are
// in the plan for their Del.
func (s Sources) Idle() bool { return s.Table != 0 }

// Rules are policy rules: what the pod sends from one of the addresses is looked
// up in that address's table before the main one. A rule carries the
// attachment's label, so that it is found without the address and without the
// link. It comes before the routes: it is what claims the table, and a table that
// has no routes yet is passed over.
type Rules struct{ Sources }

// Ledger: the rules tell the attachment's tables.
func (Rules) Ledger() {}

func (r Rules) Idle() bool { return false }

func (r Rules) String() string {
	to := "to a free table each"
	if r.Table != 0 {
		to = fmt.Sprint("to table ", r.Table)
	}
	return fact.Text("rules pod from", fact.Words("", r.addrs()), to)
}

func (r Rules) Made(k *kernel.Kernel) (bool, error) {
	if !k.Has(kernel.Pod) {
		return false, nil
	}
	all, err := rules(k, kernel.Pod)
	return len(r.mine(all)) > 0, err
}

// mine are the rules of the attachment.
func (r Rules) mine(all []rule) []rule { return labelled(all, r.own(), r.given()) }

// Add makes the rules, or none. Those of a former ADD are fs.ErrExist.
func (r Rules) Add(k *kernel.Kernel) error {
	unlock, err := k.LockPod()
	if err != nil {
		return err
	}
	defer unlock()
	all, err := rules(k, kernel.Pod)
	if err != nil {
		return err
	}
	if mine := r.mine(all); len(mine) > 0 {
		return cni.Taken("there is a rule from %v to table %d already", mine[0].src, mine[0].table)
	}
	label, tables := r.given(), slices.Repeat([]int{r.Table}, len(r.List))
	if r.Table == 0 {
		label = r.own()
		if tables, err = FreeTables(k, firstTable, len(r.List)); err != nil {
			return err
		}
	}
	for i, a := range r.addrs() {
		if err := (rule{src: netip.PrefixFrom(a, a.BitLen()), table: tables[i], label: label}).add(k); err != nil {
			return errors.Join(fmt.Errorf("from %v: %w", a, err), r.Del(k))
		}
	}
	return nil
}

// Del removes them, and those that upstream has made for the addresses.
func (r Rules) Del(k *kernel.Kernel) error {
	if !k.Has(kernel.Pod) {
		return nil
	}
	all, err := rules(k, kernel.Pod)
	return errors.Join(err, fact.ForEach(r.mine(all), func(mine rule) error { return mine.remove(k) }), r.removeUpstream(k, all))
}

// removeUpstream removes upstream's rules. They have nothing but an address of the
// attachment and a table: that of the configuration, or one whose routes all go by
// the link.
func (r Rules) removeUpstream(k *kernel.Kernel, all []rule) error {
	plain := upstreams(all)
	if len(plain) == 0 || !r.certain(k) {
		return nil
	}
	addrs, err := r.allAddrs(k)
	plain = slices.DeleteFunc(plain, func(other rule) bool { return !slices.Contains(addrs, other.src.Addr()) })
	return errors.Join(err, fact.ForEach(plain, func(other rule) (err error) {
		theirs := other.table == r.Table
		if r.Table == 0 {
			theirs, err = r.alone(k, other)
		}
		if err != nil || !theirs {
			return err
		}
		return other.remove(k)
	}))
}

// certain reports whether the namespace is the attachment's: rules without a label
// do not say.
func (r Rules) certain(k *kernel.Kernel) bool {
	l, err := k.Link(kernel.Pod, r.Link)
	return k.Trusted() || err == nil && k.Owned(l)
}

// upstreams are the rules that upstream's plugin could have made.
func upstreams(all []rule) []rule {
	return slices.DeleteFunc(slices.Clone(all), func(r rule) bool {
		return !r.plain || r.protocol != 0 || r.label != 0 || !r.src.IsSingleIP() || r.table < firstTable
	})
}

// allAddrs are the addresses of the result and those that the link has.
func (r Rules) allAddrs(k *kernel.Kernel) ([]netip.Addr, error) {
	out := r.addrs()
	have, err := addr.List(k, kernel.Pod, r.Link)
	for _, p := range have {
		out = append(out, p.Addr())
	}
	return out, kernel.Gone(err)
}

// alone reports whether no route of a rule's table goes by another link.
func (r Rules) alone(k *kernel.Kernel, other rule) (bool, error) {
	routes, err := list(k, kernel.Pod, family(other.src.Addr()))
	if err != nil {
		return false, err
	}
	var link int
	if l, err := k.Link(kernel.Pod, r.Link); err == nil {
		link = l.Index
	}
	return !slices.ContainsFunc(routes, func(have Kept) bool {
		return have.Table == other.table && len(have.by(link)) < len(have.hops)
	}), nil
}

func (r Rules) Check(k *kernel.Kernel) error {
	all, err := rules(k, kernel.Pod)
	if err != nil {
		return err
	}
	mine, theirs := r.mine(all), upstreams(all)
	for _, a := range r.addrs() {
		from := func(m rule) bool {
			return m.src.Addr() == a && m.src.IsSingleIP() && (r.Table == 0 || m.table == r.Table)
		}
		there := slices.ContainsFunc(mine, func(m rule) bool { return from(m) && (r.Table == 0) == (m.label == r.own()) })
		if !there && !slices.ContainsFunc(theirs, from) {
			return fmt.Errorf("there is none from %v: %w", a, fs.ErrNotExist)
		}
	}
	return nil
}
