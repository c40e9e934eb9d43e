package iptables

import (
	"errors"
	"io/fs"
	"slices"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/name"
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
// never go, so those of a bridge that nobody of ours asks for are left to Del of
// an attachment that names it.
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

func policy(words string) []string {
	return commented("CNI firewall plugin rules (ingressPolicy: " + words + ")")
}

// own are the bridge's rules, which go before the chains' last one.
func (a Apart) own() (parts []part) {
	first := func(chain, words string, match ...string) {
		parts = append(parts, part{rule: in(chain, append(match, policy(words)...)...), first: true})
	}
	const both = "same-bridge|isolated"
	add := func(chain, words, target string, match ...string) {
		first(chain, words, append(match, "-j", target)...)
	}
	add(chainStage1, both, chainStage2, "-i", a.Bridge, "!", "-o", a.Bridge)
	add(chainStage2, both, "DROP", "-o", a.Bridge)
	if a.Isolated {
		add(chainStage1, "isolated", "DROP", "-i", a.Bridge, "-o", a.Bridge)
	}
	return parts
}

// batch is all of it: everything is shared, and so asked for before it is put in.
func (a Apart) batch(six bool) batch {
	const both = "same-bridge|isolated"
	on := []part{
		{chain: chainStage1},
		{chain: chainStage2, rule: in(chainStage1, append(policy(both), "-j", "RETURN")...)},
		{rule: in(chainStage2, append(policy(both), "-j", "RETURN")...)},
		{rule: in("FORWARD", append(policy(both), "-j", chainStage1)...), first: true},
	}
	return batch{six: six, table: "filter", on: append(on, a.own()...)}
}

func (a Apart) has(six bool) bool { return six && a.Six || !six && a.Four }

// Add claims the record, and then puts in what is missing.
func (a Apart) Add(k *kernel.Kernel) error {
	if a.Idle() {
		return nil
	}
	if _, err := a.record().claim(k); err != nil {
		return err
	}
	for _, six := range families {
		if !a.has(six) {
			continue
		}
		if err := a.batch(six).add(); err != nil {
			return errors.Join(err, a.Del(k))
		}
	}
	return nil
}

// Del takes the bridge's rules away with the last attachment that asks for them.
func (a Apart) Del(*kernel.Kernel) error {
	mine, err := a.record().read()
	if errors.Is(err, fs.ErrNotExist) && a.Idle() {
		return nil
	}
	if err != nil {
		mine = a.record()
	}
	others, err := all(chainStage1 + ".")
	if err != nil {
		return err
	}
	still := slices.ContainsFunc(others, func(r record) bool { return r.Owner != a.Owner && r.Bridge == mine.Bridge })
	if !still && mine.Bridge != "" {
		if err := leave(mine.Bridge); err != nil {
			return err
		}
	}
	return mine.remove()
}

// leave takes a bridge's rules away, and the chains with the last bridge's.
func leave(bridge string) error {
	return each(func(_ bool, r ruleset) error {
		there, err := r.has("filter", chainStage1)
		if err != nil || !there {
			return err
		}
		return r.change("filter", func(v view) (e edits, err error) {
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
	})
}

// Check looks for every rule, those that are shared too.
func (a Apart) Check(*kernel.Kernel) error {
	if a.Idle() {
		return nil
	}
	var errs []error
	for _, six := range families {
		if a.has(six) {
			errs = append(errs, a.batch(six).check())
		}
	}
	return errors.Join(errs...)
}
