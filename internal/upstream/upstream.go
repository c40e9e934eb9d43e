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

// Beside is a fact that has no counterpart in what upstream's plugin makes: CHECK
// does not miss it where that is there.
type Beside struct {
	fact.Fact
	Theirs Trace
}

// Unwrap is the fact.
func (b Beside) Unwrap() fact.Fact { return b.Fact }

// Idle is the fact's.
func (b Beside) Idle() bool { return fact.Idle(b.Fact) }

// Short is the fact's.
func (b Beside) Short() string { return fact.Short(b.Fact) }

// Made is the fact's.
func (b Beside) Made(k *kernel.Kernel) (bool, error) { return fact.Made(b.Fact, k) }

// Check looks for what is ours and, where that is not as it should be, for
// upstream's.
func (b Beside) Check(k *kernel.Kernel) error {
	err := b.Fact.Check(k)
	if err == nil || b.Idle() {
		return err
	}
	holds, herr := b.Theirs.Holds()
	if holds {
		return nil
	}
	return errors.Join(err, herr)
}

// Or is a fact that upstream's plugin may have made true in its own way: CHECK is
// content with either, and DEL takes both away.
type Or struct{ Beside }

// Either makes an Or.
func Either(ours fact.Fact, theirs Trace) Or { return Or{Beside{ours, theirs}} }

// Del takes away what is ours and what is upstream's.
func (o Or) Del(k *kernel.Kernel) error { return errors.Join(o.Fact.Del(k), o.Theirs.Remove()) }

// chains are chains of one of upstream's tables that rules of attachments are in.
type chains struct {
	table wire.Table
	names []string
	// static are the table's other chains, which are the same for all.
	static []string
}

// remove takes rules out of the chains, and the table with the last of them.
func (c chains) remove(mine func(othertables.Rule) bool) error {
	return c.open(func(o othertables.Conn) error {
		return o.Change(func() (edits []wire.Message, err error) {
			left := 0
			for _, chain := range c.names {
				rules, err := o.Rules(c.table, chain)
				if err != nil {
					return nil, err
				}
				for _, r := range rules {
					if mine(r) {
						edits = append(edits, othertables.DeleteRule(c.table, chain, r))
					} else {
						left++
					}
				}
			}
			if left > 0 {
				return edits, nil
			}
			return c.whole(o, edits)
		})
	})
}

// whole is the table's end, unless somebody else has chains there.
func (c chains) whole(o othertables.Conn, edits []wire.Message) ([]wire.Message, error) {
	all, err := o.Chains(c.table)
	if err != nil || len(all) == 0 {
		return edits, err
	}
	for _, chain := range all {
		if !slices.Contains(c.names, chain) && !slices.Contains(c.static, chain) {
			return edits, nil
		}
	}
	return []wire.Message{othertables.DeleteTable(c.table)}, nil
}

// have reports whether there is a rule for each of those that are wanted.
func (c chains) have(wanted ...func(othertables.Rule) bool) (found bool, err error) {
	err = c.open(func(o othertables.Conn) error {
		rules, err := o.Rules(c.table, c.names[0])
		found = len(wanted) > 0
		for _, w := range wanted {
			found = found && slices.ContainsFunc(rules, w)
		}
		return err
	})
	return found, err
}

// open asks for the first of the chains, and goes on where it is there.
func (c chains) open(do func(othertables.Conn) error) error {
	o, err := othertables.Dial()
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer o.Close()
	if there, err := o.HasChain(c.table, c.names[0]); err != nil || !there {
		return err
	}
	return do(o)
}
