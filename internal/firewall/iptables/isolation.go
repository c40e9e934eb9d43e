package iptables

import (
	"errors"
	"slices"

	goiptables "github.com/coreos/go-iptables/iptables"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// Isolation keeps a bridge's pods from those of other isolated bridges (the
// ingress policy same-bridge), and from one another too where ports are isolated,
// as far as frames between ports pass iptables (br_netfilter).
//
//	FORWARD                  -j CNI-ISOLATION-STAGE-1, before all others
//	CNI-ISOLATION-STAGE-1    -i BR -o BR -j DROP (isolated)
//	                         -i BR ! -o BR -j CNI-ISOLATION-STAGE-2; RETURN
//	CNI-ISOLATION-STAGE-2    -o BR -j DROP; RETURN
//
// The rules are the bridge's: they come with the first attachment that asks for
// them and go with the last, and the chains with the last bridge. Upstream's
// plugin never removes them, and does not say which of its pods live: rules that
// were there before the first attachment of ours stay.
type Isolation struct {
	Owner  name.Attachment
	Bridge string
	// Ports also drops what passes between ports of the bridge.
	Ports bool
	// Four and Six say which families the pod has.
	Four, Six bool
}

func (i Isolation) String() string {
	if i.Ports {
		return "ipt  isolated " + i.Bridge
	}
	return "ipt  same-bridge " + i.Bridge
}

// Idle says that nothing is asked for.
func (i Isolation) Idle() bool { return i.Bridge == "" }

// Made reports whether the attachment has an isolated bridge.
func (i Isolation) Made(*kernel.Kernel) (bool, error) {
	return records(KindIsolation).Has(i.Owner), nil
}

// bothPolicies is how the rules are called that serve both policies.
const bothPolicies = "same-bridge|isolated"

// isolating is a rule. One that is first goes before the one that returns.
func isolating(in, policy, target string, first bool, match ...string) rule {
	words := slices.Concat(match, comment("CNI firewall plugin rules (ingressPolicy: "+policy+")"), []string{"-j", target})
	return rule{chain: in, words: words, first: first, shared: true}
}

var stage1 = chain{"filter", chainStage1, []string{"FORWARD"}}

// toStages is the jump to the first stage.
var toStages = isolating("FORWARD", bothPolicies, chainStage1, true)

// rules are all shared: each is put in where it is missing.
func (i Isolation) rules(six bool) ruleset {
	if i.Idle() || six && !i.Six || !six && !i.Four {
		return ruleset{}
	}
	policy := map[bool]string{false: "same-bridge", true: "isolated"}[i.Ports]
	s := ruleset{six: six, table: "filter", chains: []string{chainStage1, chainStage2}, rules: []rule{
		isolating(chainStage1, bothPolicies, "RETURN", false),
		isolating(chainStage2, bothPolicies, "RETURN", false),
		toStages,
		isolating(chainStage1, policy, chainStage2, true, "-i", i.Bridge, "!", "-o", i.Bridge),
		isolating(chainStage2, bothPolicies, "DROP", true, "-o", i.Bridge),
	}}
	if i.Ports {
		s.rules = append(s.rules, isolating(chainStage1, policy, "DROP", true, "-i", i.Bridge, "-o", i.Bridge))
	}
	return s
}

// checkStageOrder is an error where a packet comes to CNI-FORWARD, which accepts,
// before the stages. One of the two is there: iptables lists nothing, and succeeds,
// where the kernel's answer was lost.
func checkStageOrder(ipt *goiptables.IPTables) error {
	rules, err := list(ipt, "filter", "FORWARD")
	to := func(chain string) int { return slices.IndexFunc(rules, func(r rule) bool { return r.jump() == chain }) }
	forward, stages := to(chainForward), to(chainStage1)
	switch {
	case err != nil:
		return err
	case forward < 0 && stages < 0:
		return errors.New("iptables lists no jump from FORWARD to a chain of CNI")
	case forward >= 0 && forward < stages:
		return errStageOrder
	}
	return nil
}

var errStageOrder = errors.New(chainForward + " accepts before " + chainStage1)

// ensureStageOrder puts the jump to the stages first, which the one to
// CNI-FORWARD was put before.
func ensureStageOrder(ipt *goiptables.IPTables) error {
	err := checkStageOrder(ipt)
	if err != errStageOrder {
		return err
	}
	if err = ipt.Delete("filter", toStages.chain, toStages.words...); err == nil {
		err = ipt.Insert("filter", toStages.chain, 1, toStages.words...)
	}
	return said(err)
}

// Add inserts the rules that are missing.
func (i Isolation) Add(k *kernel.Kernel) error {
	return attach(k, KindIsolation, i.Owner, i.want, i.rules, i.remove)
}

func (i Isolation) want(others []record) (record, error) {
	r := record{Bridge: i.Bridge}
	if at := slices.IndexFunc(others, func(o record) bool { return o.Bridge == i.Bridge }); at >= 0 {
		r.Preexisting = others[at].Preexisting
		return r, nil
	}
	rules, err := stage1.everywhere(stage1.rules)
	r.Preexisting = slices.ContainsFunc(rules, func(is rule) bool { return slices.Contains(is.words, i.Bridge) })
	return r, err
}

// Del removes the bridge's rules with the last attachment that asks for them.
func (i Isolation) Del(*kernel.Kernel) error { return detach(KindIsolation, i.Owner, i.remove) }

func (i Isolation) remove() error {
	others, err := others(KindIsolation, i.Owner)
	mine, found, rerr := records(KindIsolation).Find(i.Owner)
	needed := slices.ContainsFunc(others, func(o record) bool { return o.Bridge == mine.Bridge })
	if err = errors.Join(err, rerr); err != nil || !found || needed || mine.Preexisting {
		return err
	}
	_, err = stage1.wherever(func(ipt *goiptables.IPTables) error { return releaseBridge(ipt, mine.Bridge) })
	return err
}

// releaseBridge removes a bridge's rules, and the chains with the last bridge's: that
// one last by which they are found.
func releaseBridge(ipt *goiptables.IPTables, bridge string) (err error) {
	left := 0
	for _, chain := range []string{chainStage1, chainStage2} {
		rules, lerr := list(ipt, "filter", chain)
		err = errors.Join(err, lerr)
		for i, r := range rules {
			switch {
			case slices.Contains(r.words, bridge):
				err = errors.Join(err, said(ipt.Delete("filter", chain, r.words...)))
			case i < len(rules)-1: // the last one returns
				left++
			}
		}
	}
	if err != nil || left > 0 {
		return err
	}
	if err := (chain{"filter", chainStage2, nil}).removeFrom(ipt); err != nil {
		return err
	}
	return stage1.removeFrom(ipt)
}

// Check looks for every rule, and for their order.
func (i Isolation) Check(*kernel.Kernel) error { return checkBoth(i.rules) }
