package iptables

import (
	"errors"
	"net/netip"
	"slices"

	goiptables "github.com/coreos/go-iptables/iptables"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// Forward lets what is for a pod's addresses, and what comes from them, pass the
// host's FORWARD chain. Without addresses it is there for its Del.
//
//	FORWARD      -j CNI-FORWARD, before all others
//	CNI-FORWARD  -j CNI-ADMIN, before all others
//	             -d <address> of connections that are there: ACCEPT
//	             -s <address> ACCEPT
//
// Upstream's rules say nothing of their owner. So each attachment has a pair of
// its own for an address, and Del removes as many as no other record needs. The
// administrator's chain is never removed, the other goes with the last address.
type Forward struct {
	Owner name.Attachment
	Addrs []netip.Addr
	// Admin is the name of the chain that the administrator decides in before all
	// others, as CheckChain takes it.
	Admin string
	// Known are addresses of the pod by the previous result, for the Del of what
	// upstream's plugin has made.
	Known []netip.Addr
}

func (f Forward) String() string {
	return fact.Text("ipt  forward", fact.Words("", f.Addrs), "after", f.Admin)
}

// Idle says that nothing is asked for.
func (f Forward) Idle() bool { return len(f.Addrs) == 0 }

// Made reports whether the attachment has addresses that are let through.
func (f Forward) Made(*kernel.Kernel) (bool, error) { return records(KindForward).Has(f.Owner), nil }

// forwarding is the chain that all pods share.
var forwarding = chain{"filter", chainForward, []string{"FORWARD"}}

func (f Forward) rules(six bool) ruleset {
	s := ruleset{six: six, table: "filter", chains: []string{chainForward, f.Admin}}
	jump := func(in, text, to string) rule {
		return rule{chain: in, words: append(comment("CNI firewall plugin "+text), "-j", to), first: true}
	}
	for _, a := range f.Addrs {
		if a.Is6() != six {
			continue
		}
		s.rules = append(s.rules,
			rule{chain: chainForward, words: []string{"-d", a.String(), "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"}},
			rule{chain: chainForward, words: []string{"-s", a.String(), "-j", "ACCEPT"}})
	}
	if len(s.rules) > 0 {
		s.rules = append([]rule{jump("FORWARD", "rules", chainForward), jump(chainForward, "admin overrides", f.Admin)}, s.rules...)
	}
	return s
}

// Add inserts the rules.
func (f Forward) Add(k *kernel.Kernel) error {
	want := func([]record) (record, error) { return record{Addrs: f.Addrs}, nil }
	return attach(k, KindForward, f.Owner, want, f.rules, f.remove)
}

// Del removes the rules of the addresses that are recorded. Without a record it
// removes what upstream's plugin made for the pod.
func (f Forward) Del(*kernel.Kernel) error {
	if len(f.Known) == 0 {
		return detach(KindForward, f.Owner, f.remove)
	}
	return detach(KindForward, f.Owner, f.remove, forwarding)
}

func (f Forward) remove() error {
	others, err := others(KindForward, f.Owner)
	if err != nil {
		return err
	}
	addrs := f.Known
	mine, found, err := records(KindForward).Find(f.Owner)
	if err != nil {
		return err
	}
	if found {
		addrs = mine.Addrs
	}
	_, err = forwarding.wherever(func(ipt *goiptables.IPTables) error { return release(ipt, addrs, others) })
	return err
}

// release removes of each address the first two rules that no other record needs,
// which may be one where an ADD was killed between the two. Where nothing is left
// but the jump to the administrator's chain, the chain goes.
func release(ipt *goiptables.IPTables, addrs []netip.Addr, others []record) error {
	rules, err := accepting(ipt)
	left := len(rules)
	for _, a := range addrs {
		its := of(a, rules)
		spare := len(its)
		for _, o := range others {
			if slices.Contains(o.Addrs, a) {
				spare -= 2
			}
		}
		for _, r := range its[:max(0, min(2, spare))] {
			err = errors.Join(err, said(ipt.Delete("filter", r.chain, r.words...)))
			left--
		}
	}
	if err != nil || left > 0 {
		return err
	}
	return forwarding.removeFrom(ipt)
}

// accepting are the rules of the pods' addresses.
func accepting(ipt *goiptables.IPTables) ([]rule, error) {
	rules, err := forwarding.rules(ipt)
	return slices.DeleteFunc(rules, func(r rule) bool { return r.jump() != "ACCEPT" }), err
}

// of are those of the rules that name an address.
func of(a netip.Addr, rules []rule) []rule {
	return slices.DeleteFunc(slices.Clone(rules), func(r rule) bool { return !r.names(a) })
}

// Check looks for every rule, those that are shared too.
func (f Forward) Check(*kernel.Kernel) error { return checkBoth(f.rules) }

// Forwards reports whether every one of the addresses has a pair of rules, of
// whichever suite's.
func Forwards(addrs []netip.Addr) (bool, error) {
	rules, err := forwarding.everywhere(accepting)
	lacking := func(a netip.Addr) bool { return len(of(a, rules)) < 2 }
	return len(addrs) > 0 && !slices.ContainsFunc(addrs, lacking), err
}
