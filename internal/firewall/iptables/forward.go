package iptables

import (
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/lists"
	"github.com/catena-cni/catena/internal/state/name"
)

const (
	chainForward = "CNI-FORWARD"
	// AdminChain is the chain that an administrator decides in before all others,
	// unless it is given another name.
	AdminChain = "CNI-ADMIN"
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
// its own for an address, and Del takes one pair away: that of a pod which has
// the same address by now stays. The administrator's chain is left alone for
// ever, the other goes with the last address.
type Forward struct {
	Owner name.Attachment
	Addrs []netip.Addr
	// Admin is the name of the administrator's chain, as CheckChain takes it.
	Admin string
	// Known are addresses of the pod by the previous result, for the Del of what
	// upstream's plugin has made.
	Known []netip.Addr
}

func (f Forward) String() string {
	words := []string{"ipt  forward"}
	for _, a := range f.Addrs {
		words = append(words, a.String())
	}
	return strings.Join(append(words, "after", f.admin()), " ")
}

// Idle says that nothing is asked for.
func (f Forward) Idle() bool { return len(f.Addrs) == 0 }

func (f Forward) admin() string {
	if f.Admin == "" {
		return AdminChain
	}
	return f.Admin
}

func (f Forward) record() record { return record{Owner: f.Owner, chain: chainForward, Addrs: f.Addrs} }

// Made reports whether the attachment has addresses that are let through.
func (f Forward) Made(*kernel.Kernel) (bool, error) { return f.record().made() }

// batch is the rules of one family.
func (f Forward) batch(six bool) batch {
	b := batch{six: six, table: "filter", on: []part{
		{chain: chainForward, rule: in("FORWARD", append(commented("CNI firewall plugin rules"), "-j", chainForward)...), first: true},
		{chain: f.admin(), rule: in(chainForward, append(commented("CNI firewall plugin admin overrides"), "-j", f.admin())...), first: true},
	}}
	for _, a := range f.Addrs {
		if a.Is6() == six {
			b.rules = append(b.rules,
				in(chainForward, "-d", a.String(), "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"),
				in(chainForward, "-s", a.String(), "-j", "ACCEPT"))
		}
	}
	return b
}

// Add claims the record, which a second ADD of the same attachment finds taken,
// and then puts the rules in.
func (f Forward) Add(k *kernel.Kernel) error {
	if f.Idle() {
		return nil
	}
	before, rerr := f.record().read()
	again, err := f.record().claim(k)
	if err != nil {
		return err
	}
	if again && rerr == nil { // the pod is gone, and was never detached
		err = before.release(before.Addrs)
	}
	var done []netip.Addr
	for _, six := range families {
		b := f.batch(six)
		if err != nil || len(b.rules) == 0 {
			continue
		}
		if err = b.add(); err == nil {
			done = append(done, lists.Without(f.Addrs, func(a netip.Addr) bool { return a.Is6() != six })...)
			err = stagesFirst(six)
		}
	}
	if err != nil {
		return errors.Join(err, f.record().release(done), f.record().remove())
	}
	return nil
}

// Del takes away the attachment's own rules. What upstream's plugin made for the
// pod goes too, as far as no attachment of ours has the address.
func (f Forward) Del(*kernel.Kernel) error {
	mine, err := f.record().read()
	if errors.Is(err, fs.ErrNotExist) {
		return f.releaseUnclaimed()
	}
	if err != nil {
		return errors.Join(err, f.record().remove())
	}
	if err := mine.release(mine.Addrs); err != nil {
		return err
	}
	return mine.remove()
}

// releaseUnclaimed takes rules away that no record speaks of.
func (f Forward) releaseUnclaimed() error {
	if len(f.Known) == 0 {
		return nil
	}
	others, err := all(chainForward + ".")
	if err != nil {
		return err
	}
	free := lists.Without(f.Known, func(a netip.Addr) bool {
		return slices.ContainsFunc(others, func(r record) bool { return slices.Contains(r.Addrs, a) })
	})
	if len(free) == 0 {
		return nil
	}
	return f.record().release(free)
}

// release takes one pair of rules away for each of the addresses, and the chain
// with the last.
func (r record) release(addrs []netip.Addr) error {
	_, err := amend("filter", chainForward, func(v view) (edits, error) { return pairs(v, addrs) })
	return err
}

// pairs finds the first two rules for each address, which are one pair. Where
// nothing is left but the jump to the administrator's chain, the chain goes.
func pairs(v view, addrs []netip.Addr) (e edits, err error) {
	rules, err := v.rules(chainForward)
	if err != nil {
		return e, err
	}
	stays := false
	taken := map[netip.Addr]int{}
	for _, f := range rules {
		i := slices.IndexFunc(addrs, f.address)
		switch {
		case !accepts(f):
		case i >= 0 && taken[addrs[i]] < 2:
			taken[addrs[i]]++
			e.rules = append(e.rules, placed{chainForward, f})
		default:
			stays = true
		}
	}
	if stays {
		return e, nil
	}
	return e, e.takeAway(v, common{chainForward, []string{"FORWARD"}})
}

// accepts reports whether a rule leads to no other chain. The chain's rules
// accept, which the tables of nftables write without a jump.
func accepts(f found) bool { return f.jump() == "" || f.jump() == "ACCEPT" }

// Check looks for every rule, those that are shared too.
func (f Forward) Check(*kernel.Kernel) error {
	return checkEach(f.batch)
}

// Forwards reports whether every one of the addresses has a pair of rules, of
// whichever suite's.
func Forwards(addrs []netip.Addr) (bool, error) {
	rules := map[netip.Addr]int{}
	_, err := amend("filter", chainForward, func(v view) (none edits, err error) {
		have, err := v.rules(chainForward)
		for _, f := range have {
			if i := slices.IndexFunc(addrs, f.address); i >= 0 && accepts(f) {
				rules[addrs[i]]++
			}
		}
		return none, err
	})
	for _, a := range addrs {
		if rules[a] < 2 {
			return false, err
		}
	}
	return len(addrs) > 0, err
}

// Forwarded lists the attachments with a record of Forward or Apart.
func Forwarded() ([]name.Attachment, error) {
	forward, err := all(chainForward + ".")
	apart, aerr := all(chainStage1 + ".")
	return owners(append(forward, apart...)), errors.Join(err, aerr)
}
