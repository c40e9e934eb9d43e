// Package forwardrules keeps a rule in the chains of other programs that would
// drop what the host forwards for pods. An accept in a table of our own does not
// help there: a packet must pass all chains of the hook.
//
// Packets of pods have a bit of their mark set by then. The rule accepts these,
// and comes last, right before the drop: what the chain's own rules say of a
// packet counts. In the chain FORWARD of iptables another rule leads them first
// through the administrator's chain, where there is one of that name. Both are
// made once, whatever the number of pods, and stay; without pods they match
// nothing.
package forwardrules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/firewall/othertables"
	"github.com/catena-cni/catena/internal/state"
)

// MarkBit is the bit of a packet's mark that says, while it is being forwarded,
// that it comes from a pod or goes to one. The chains of others cannot look into
// our sets.
const MarkBit = 12

// Families are those for which it is an error that a chain drops.
type Families struct{ V4, V6 bool }

// include reports whether a table of that family is for one of them.
func (w Families) include(family uint8) bool {
	return family == unix.NFPROTO_INET || w.V4 && family == unix.NFPROTO_IPV4 || w.V6 && family == unix.NFPROTO_IPV6
}

// The comments by which our rules are known.
const (
	ourComment    = "catena: "
	acceptComment = ourComment + "pods are forwarded, see table inet catena"
)

func adminComment(chain string) string { return ourComment + "pods first go through " + chain }

func ours(r othertables.Rule) bool { return strings.HasPrefix(r.Comment, ourComment) }

// folder has the file "rules", with what Restore is to look for.
const folder = state.Folder("/run/catena/nft/forwardrules")

type record struct {
	// Admins are the names of administrators' chains.
	Admins []string `json:"admins"`
	Rules  []place  `json:"rules"`
}

// place is where a rule of ours is.
type place struct {
	Table  wire.Table `json:"table"`
	Chain  string     `json:"chain"`
	Handle uint64     `json:"handle"`
}

func readRecord() (r record, found bool) {
	b, err := folder.Read("rules")
	return r, err == nil && json.Unmarshal(b, &r) == nil
}

// Ensure has every chain of others forward what pods send and receive. The name
// of an administrator's chain is added to those that are known.
func Ensure(c *wire.Conn, wanted Families, admin string) error {
	if err := legacyPolicies(wanted); err != nil {
		return err // before anything is changed
	}
	r, _ := readRecord()
	if !slices.Contains(r.Admins, admin) {
		r.Admins = append(r.Admins, admin)
	}
	return r.ensure(c, wanted)
}

// Restore puts rules back where one that was made is gone or, with all, where a
// chain has come to drop since. Where Ensure was never called, it does nothing.
func Restore(c *wire.Conn, all bool) error {
	r, found := readRecord()
	if !found {
		return nil
	}
	if !all {
		if lost, err := r.lost(c); err != nil || !lost {
			return err
		}
	}
	return r.ensure(c, Families{true, true})
}

// lost asks for each rule, and reports whether one is gone.
func (r record) lost(c *wire.Conn) (bool, error) {
	for _, p := range r.Rules {
		rule, err := othertables.RuleAt(c, p.Table, p.Chain, p.Handle)
		if err != nil || !ours(rule) {
			return true, err
		}
	}
	return false, nil
}

func (r record) ensure(c *wire.Conn, wanted Families) error {
	chains, err := forwardChains(c)
	if err != nil {
		return err
	}
	r.Rules = nil
	var errs []error
	for _, f := range chains {
		places, err := f.ensure(c, r.Admins)
		r.Rules = append(r.Rules, places...)
		if wanted.include(f.Family) {
			errs = append(errs, err)
		}
	}
	b, err := json.Marshal(r)
	if have, _ := folder.Read("rules"); err == nil && !bytes.Equal(have, b) {
		err = folder.Replace("rules", b)
	}
	return errors.Join(append(errs, err)...)
}

// ensure makes the rules that one chain needs, and says where they are.
func (f chain) ensure(c *wire.Conn, admins []string) (places []place, err error) {
	changed := false
	look := func() (batch []wire.Message, err error) {
		batch, places, err = f.missing(c, admins)
		changed = len(batch) > 0
		return batch, err
	}
	err = c.Change(look)
	if err == nil && changed { // the kernel has given the new rules their handles
		_, err = look()
	}
	return places, f.refused(err)
}

// refused says that a chain takes no rule.
func (f chain) refused(err error) error {
	if !errors.As(err, new(wire.Refused)) {
		return err
	}
	err = fmt.Errorf("%v drops what is forwarded to pods, and takes no rule that accepts it: %w", f, err)
	if f.Table.Name == "firewalld" {
		return cni.Hint(err, `firewalld owns its table: set "backend": "firewalld" in firewall's configuration`)
	}
	return cni.Hint(err, "let the program that the table belongs to accept what comes from the pods' addresses and goes there")
}

// missing gives the messages that make what a chain lacks, and the rules of ours
// that it has.
func (f chain) missing(c *wire.Conn, admins []string) (batch []wire.Message, have []place, err error) {
	rules, err := othertables.Rules(c, f.Table, f.name)
	if err != nil {
		return nil, nil, err
	}
	theirs := slices.DeleteFunc(slices.Clone(rules), ours)
	verdict, at, err := f.verdict(c, theirs, 0)
	if err != nil {
		return nil, nil, err
	}
	var last uint64 // the handle of the rule that no packet comes behind
	if at < len(theirs) {
		last = theirs[at].Handle
	}
	lacks := map[string]bool{acceptComment: verdict == wire.VerdictDrop || verdict != wire.VerdictAccept && f.policy == wire.VerdictDrop}
	for _, a := range admins {
		if f.iptables() && a != "" {
			if lacks[adminComment(a)], err = othertables.HasChain(c, f.Table, a); err != nil {
				return nil, nil, err
			}
		}
	}
	behind := false
	for _, r := range rules {
		behind = behind || last != 0 && r.Handle == last
		switch {
		case !ours(r):
		case lacks[r.Comment] && !(behind && r.Comment == acceptComment):
			have = append(have, place{f.Table, f.name, r.Handle})
			lacks[r.Comment] = false
		case r.Comment == acceptComment: // it is there twice, or behind the drop
			batch = append(batch, othertables.DeleteRule(f.Table, f.name, r))
		}
	}
	for _, a := range admins {
		if lacks[adminComment(a)] {
			batch = append(batch, f.rule(0, 0, adminComment(a), wire.Jump(a)))
		}
	}
	if lacks[acceptComment] {
		batch = append(batch, f.rule(last, unix.NLM_F_APPEND, acceptComment, wire.Accept()))
	}
	return batch, have, nil
}

// rule adds a rule about packets of pods.
func (f chain) rule(before uint64, flags uint16, comment string, verdict wire.Expr) wire.Message {
	mark := wire.Native(1 << MarkBit)
	exprs := wire.One(wire.Meta(unix.NFT_META_MARK, wire.Reg(0)), wire.Mask(wire.Reg(0), mark), wire.Compare(unix.NFT_CMP_EQ, wire.Reg(0), mark))
	if f.iptables() {
		// Versions of iptables before 1.8.8 show a rule of nft's form as if it had
		// no condition, and would store it so. This is struct xt_mark_mtinfo1.
		const name, revision, info = 1, 2, 3 // NFTA_MATCH_*
		exprs = wire.One(wire.Expression("match", wire.String(name, "mark"), wire.U32(revision, 1),
			wire.Bytes(info, slices.Concat(mark, mark, make([]byte, 4)))))
	}
	if before != 0 {
		flags = 0
	}
	return othertables.InsertRule(f.Table, f.name, before, flags, comment, append(exprs, wire.Expression("counter"), verdict)...)
}

// Missing says which chains of others drop what pods send and receive.
func Missing(c *wire.Conn, wanted Families) error {
	return lacking(c, wanted, func(f chain, _ []wire.Message) error {
		return fmt.Errorf("%v drops what is forwarded to pods: it has lost the rule that accepts it: %w", f, fs.ErrNotExist)
	})
}

// Ready says which chains of others drop, and could not be changed. It changes
// nothing.
func Ready(c *wire.Conn, wanted Families) error {
	return lacking(c, wanted, func(f chain, batch []wire.Message) error {
		if err := c.Rehearse(batch); err != nil {
			return f.refused(err)
		}
		return nil
	})
}

// lacking gives each chain that lacks a rule to see, with the messages that make
// it.
func lacking(c *wire.Conn, wanted Families, see func(chain, []wire.Message) error) error {
	chains, err := forwardChains(c)
	chains = slices.DeleteFunc(chains, func(f chain) bool { return !wanted.include(f.Family) })
	return errors.Join(legacyPolicies(wanted), err, fact.ForEach(chains, func(f chain) error {
		batch, _, err := f.missing(c, nil)
		if err == nil && len(batch) > 0 {
			err = see(f, batch)
		}
		return err
	}))
}
