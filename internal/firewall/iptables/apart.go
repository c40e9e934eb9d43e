package iptables

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/lists"
	"github.com/catena-cni/catena/internal/state/name"
)

const (
	chainStage1 = "CNI-ISOLATION-STAGE-1"
	chainStage2 = "CNI-ISOLATION-STAGE-2"
)

// Apart keeps a bridge's pods from those of other bridges that are kept apart
// (the ingress policy same-bridge), and from one another too where it is
// isolated, as far as frames between ports pass iptables (br_netfilter).
//
//	FORWARD                  -j CNI-ISOLATION-STAGE-1, before all others
//	CNI-ISOLATION-STAGE-1    -i BR -o BR -j DROP (isolated)
//	                         -i BR ! -o BR -j CNI-ISOLATION-STAGE-2; RETURN
//	CNI-ISOLATION-STAGE-2    -o BR -j DROP; RETURN
//
// The rules are the bridge's: they come with the first attachment that asks for
// them and go with the last, and the chains with the last bridge. Upstream's
// plugin never takes them away, and does not say which of its pods live: those
// that were there before the first attachment of ours stay.
type Apart struct {
	Owner  name.Attachment
	Bridge string
	// Isolated also drops what passes between ports of the bridge.
	Isolated bool
	// Six and Four say which families the pod has.
	Four, Six bool
}

func (a Apart) String() string {
	if a.Isolated {
		return "ipt  isolated " + a.Bridge
	}
	return "ipt  same-bridge " + a.Bridge
}

// Idle says that nothing is asked for.
func (a Apart) Idle() bool { return a.Bridge == "" }

func (a Apart) record() record {
	return record{Owner: a.Owner, chain: chainStage1, Bridge: a.Bridge, Isolated: a.Isolated}
}

// Made reports whether the attachment has a bridge kept apart.
func (a Apart) Made(*kernel.Kernel) (bool, error) { return a.record().made() }

// eitherPolicy is how the rules that serve both policies are called.
const eitherPolicy = "same-bridge|isolated"

// stages is the jump to the first stage.
var stages = in("FORWARD", append(policy(eitherPolicy), "-j", chainStage1)...)

func policy(words string) []string {
	return commented("CNI firewall plugin rules (ingressPolicy: " + words + ")")
}

// own are the bridge's rules, which go before the chains' last one.
func (a Apart) own() (parts []part) {
	add := func(chain, words, target string, match ...string) {
		parts = append(parts, part{rule: in(chain, slices.Concat(match, policy(words), []string{"-j", target})...), first: true})
	}
	name := "same-bridge"
	if a.Isolated {
		name = "isolated"
	}
	add(chainStage1, name, chainStage2, "-i", a.Bridge, "!", "-o", a.Bridge)
	add(chainStage2, eitherPolicy, "DROP", "-o", a.Bridge)
	if a.Isolated {
		add(chainStage1, name, "DROP", "-i", a.Bridge, "-o", a.Bridge)
	}
	return parts
}

// batch is all of it: everything is shared, and so asked for before it is put in.
func (a Apart) batch(six bool) batch {
	on := []part{
		{chain: chainStage1},
		{chain: chainStage2, rule: in(chainStage1, append(policy(eitherPolicy), "-j", "RETURN")...)},
		{rule: in(chainStage2, append(policy(eitherPolicy), "-j", "RETURN")...)},
		{rule: stages, first: true},
	}
	return batch{six: six, table: "filter", on: append(on, a.own()...)}
}

func (a Apart) has(six bool) bool { return six && a.Six || !six && a.Four }

// Add claims the record, and then puts in what is missing.
func (a Apart) Add(k *kernel.Kernel) error {
	if a.Idle() {
		return nil
	}
	r := a.record()
	sharers, err := a.sharers(a.Bridge)
	if err != nil {
		return err
	}
	before, rerr := r.read() // of the same container, before a crash
	switch {
	case rerr == nil:
		r.Stays = before.Stays
	case len(sharers) > 0:
		r.Stays = sharers[0].Stays
	default:
		if r.Stays, err = ruled(a.Bridge); err != nil {
			return err
		}
	}
	if _, err := r.claim(k); err != nil {
		return err
	}
	for _, six := range families {
		if !a.has(six) {
			continue
		}
		if err := errors.Join(a.batch(six).add(), stagesFirst(six)); err != nil {
			return errors.Join(err, a.Del(k))
		}
	}
	return nil
}

// stagesFirst puts the jump to the stages before that to CNI-FORWARD, which
// accepts: whichever of the two came last is the first.
func stagesFirst(six bool) error {
	wrong, err := forwardFirst(six)
	if err != nil || !wrong {
		return err
	}
	b := batch{six: six, table: "filter"}
	return b.run([]string{
		line(append([]string{"-D", stages.chain}, stages.words...)...),
		line(append([]string{"-I", stages.chain, "1"}, stages.words...)...),
	})
}

// forwardFirst reports whether a packet comes to CNI-FORWARD before the stages.
func forwardFirst(family bool) (wrong bool, err error) {
	err = each(func(six bool, r ruleset) error {
		if six != family {
			return nil
		}
		there, err := r.has("filter", chainStage1)
		if err != nil || !there {
			return err
		}
		return r.change("filter", func(v view) (none edits, err error) {
			rules, err := v.rules("FORWARD")
			to := func(chain string) int {
				return slices.IndexFunc(rules, func(f found) bool { return f.jump() == chain })
			}
			forward := to(chainForward)
			wrong = wrong || forward >= 0 && forward < to(chainStage1)
			return none, err
		})
	})
	return wrong, err
}

// sharers are the records of others that ask for the bridge's rules.
func (a Apart) sharers(bridge string) ([]record, error) {
	records, err := all(chainStage1 + ".")
	return lists.Without(records, func(r record) bool { return r.Owner == a.Owner || r.Bridge != bridge }), err
}

// Del takes the bridge's rules away with the last attachment that asks for them.
func (a Apart) Del(*kernel.Kernel) error {
	mine, err := a.record().read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return errors.Join(err, a.record().remove())
	}
	sharers, err := a.sharers(mine.Bridge)
	if err != nil {
		return err
	}
	if len(sharers) == 0 && !mine.Stays {
		if err := leave(mine.Bridge); err != nil {
			return err
		}
	}
	return mine.remove()
}

// ruled reports whether a bridge has rules already.
func ruled(bridge string) (is bool, err error) {
	_, err = amend("filter", chainStage1, func(v view) (none edits, err error) {
		rules, err := v.rules(chainStage1)
		is = is || slices.ContainsFunc(rules, func(f found) bool { return f.link(bridge) })
		return none, err
	})
	return is, err
}

// leave takes a bridge's rules away, and the chains with the last bridge's.
func leave(bridge string) error {
	_, err := amend("filter", chainStage1, func(v view) (e edits, err error) {
		stays := false
		for _, chain := range []string{chainStage1, chainStage2} {
			rules, err := v.rules(chain)
			if err != nil {
				return e, err
			}
			for i, f := range rules {
				switch last := i == len(rules)-1; {
				case f.link(bridge):
					e.rules = append(e.rules, placed{chain, f})
				case !last: // which returns
					stays = true
				}
			}
		}
		if stays {
			return e, nil
		}
		err = e.takeAway(v, common{chainStage1, []string{"FORWARD"}})
		return e, errors.Join(err, e.takeAway(v, common{chainStage2, nil}))
	})
	return err
}

// Check looks for every rule, those that are shared too.
func (a Apart) Check(*kernel.Kernel) error {
	if a.Idle() {
		return nil
	}
	var errs []error
	for _, six := range families {
		if !a.has(six) {
			continue
		}
		errs = append(errs, a.batch(six).check())
		if wrong, err := forwardFirst(six); err != nil || wrong {
			errs = append(errs, err, fmt.Errorf("%s accepts before %s", chainForward, chainStage1))
		}
	}
	return errors.Join(errs...)
}
