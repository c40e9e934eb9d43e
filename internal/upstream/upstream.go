// Package upstream knows what upstream's plugins (containernetworking/plugins)
// leave on a host where ours do it in another way, so that a pod that they have
// attached can be checked, detached and collected by ours: names, comments and
// shapes are theirs. What they have in iptables is internal/firewall/iptables'.
//
// Each trace is asked for by name, with one question to the kernel, so it costs
// next to nothing where upstream's plugins never were.
package upstream

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/firewall/othertables"
	"github.com/catena-cni/catena/internal/kernel"
)

// Trace is what upstream's plugin leaves for an attachment in place of a fact.
type Trace interface {
	// Holds reports whether it is there as upstream's plugin made it.
	Holds() (bool, error)
	// Remove takes it away. It succeeds where nothing is.
	Remove() error
}

// Optional is a fact that has no counterpart in what upstream's plugin makes:
// CHECK does not miss it where that is there.
type Optional struct {
	fact.Fact
	Theirs Trace
}

// Unwrap is the fact.
func (o Optional) Unwrap() fact.Fact { return o.Fact }

func (o Optional) Idle() bool { return fact.Idle(o.Fact) }

// Short is the fact's.
func (o Optional) Short() string { return fact.Short(o.Fact) }

func (o Optional) Made(k *kernel.Kernel) (bool, error) { return fact.Made(o.Fact, k) }

// Check looks for what is ours and, where that is not as it should be, for
// upstream's.
func (o Optional) Check(k *kernel.Kernel) error {
	err := o.Fact.Check(k)
	if err == nil || o.Idle() {
		return err
	}
	holds, herr := o.Theirs.Holds()
	if holds {
		return nil
	}
	return errors.Join(err, herr)
}

// OursOrUpstreams is a fact that upstream's plugin may have made true in its own
// way: CHECK is content with either, and DEL removes both.
type OursOrUpstreams struct{ Optional }

// OrUpstreams makes such a fact of ours.
func OrUpstreams(ours fact.Fact, theirs Trace) OursOrUpstreams {
	return OursOrUpstreams{Optional{ours, theirs}}
}

// Del removes what is ours and what is upstream's.
func (o OursOrUpstreams) Del(k *kernel.Kernel) error {
	return errors.Join(o.Fact.Del(k), o.Theirs.Remove())
}

// chains are chains of one of upstream's tables that rules of attachments are in.
type chains struct {
	table wire.Table
	names []string
	// static are the table's other chains, which are the same for all.
	static []string
}

// remove removes rules from the chains, and the table with the last of them.
func (c chains) remove(mine func(othertables.Rule) bool) error {
	return c.open(func(o *wire.Conn) error {
		return o.Change(func() ([]wire.Message, error) {
			edits, left, err := c.deleteRules(o, c.names, mine)
			if err != nil || left > 0 {
				return edits, err
			}
			return c.deleteTableIfEmpty(o, edits)
		})
	})
}

// deleteRules deletes rules from some chains, and says how many others are left.
func (c chains) deleteRules(o *wire.Conn, names []string, mine func(othertables.Rule) bool) (edits []wire.Message, left int, err error) {
	for _, chain := range names {
		rules, err := othertables.Rules(o, c.table, chain)
		if err != nil {
			return nil, 0, err
		}
		for _, r := range rules {
			if mine(r) {
				edits = append(edits, othertables.DeleteRule(c.table, chain, r))
			} else {
				left++
			}
		}
	}
	return edits, left, nil
}

// deleteTableIfEmpty deletes the table in place of the edits, unless somebody else
// has chains there.
func (c chains) deleteTableIfEmpty(o *wire.Conn, edits []wire.Message) ([]wire.Message, error) {
	all, err := othertables.Chains(o, c.table)
	foreign := func(chain string) bool { return !slices.Contains(c.names, chain) && !slices.Contains(c.static, chain) }
	if err != nil || len(all) == 0 || slices.ContainsFunc(all, foreign) {
		return edits, err
	}
	return []wire.Message{othertables.DeleteTable(c.table)}, nil
}

// have reports whether there is a rule for each of those that are wanted.
func (c chains) have(wanted ...func(othertables.Rule) bool) (found bool, err error) {
	err = c.open(func(o *wire.Conn) error {
		rules, err := othertables.Rules(o, c.table, c.names[0])
		found = len(wanted) > 0
		for _, w := range wanted {
			found = found && slices.ContainsFunc(rules, w)
		}
		return err
	})
	return found, err
}

// open asks for the first of the chains, and goes on where it is there.
func (c chains) open(do func(*wire.Conn) error) error {
	o, err := wire.Dial()
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer o.Close()
	if there, err := othertables.HasChain(o, c.table, c.names[0]); err != nil || !there {
		return err
	}
	return do(o)
}
