package iptables

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/firewall/othertables"
)

// ruleset is one family's tables in one of the two forms that the kernel has
// them in.
type ruleset interface {
	// has looks for a chain.
	has(table, chain string) (bool, error)
	// contains looks for a comment that begins with the text.
	contains(table, text string) (bool, error)
	// change makes the edits that follow from a look at the table, all or none.
	change(table string, look func(view) (edits, error)) error
}

// view is a table as it is.
type view interface {
	has(chain string) (bool, error)
	rules(chain string) ([]found, error)
}

// found is a rule that is there.
type found interface {
	jump() string
	comment() string
	address(netip.Addr) bool
	link(name string) bool
}

// edits take rules out, and then chains with all that is in them.
type edits struct {
	rules  []placed
	chains []string
}

type placed struct {
	chain string
	found found
}

// each goes through both families and both forms, and does not stop at an error.
func each(do func(six bool, r ruleset) error) error {
	o, err := othertables.Dial()
	errs := []error{}
	if err == nil {
		defer o.Close()
	} else if !errors.Is(err, unix.EPROTONOSUPPORT) {
		errs = append(errs, err)
	}
	for _, six := range families {
		if o.Conn != nil {
			errs = append(errs, do(six, tables{o, six}))
		}
		errs = append(errs, do(six, older{six}))
	}
	return errors.Join(errs...)
}

// amend makes the edits that follow from a look at a table, wherever it has the
// chain, and says whether it has it anywhere.
func amend(table, chain string, look func(view) (edits, error)) (there bool, err error) {
	err = each(func(_ bool, r ruleset) error {
		has, err := r.has(table, chain)
		if err != nil || !has {
			return err
		}
		there = true
		return r.change(table, look)
	})
	return there, err
}

// tables are those of the newer iptables.
type tables struct {
	o   othertables.Conn
	six bool
}

func (t tables) named(table string) wire.Table {
	if t.six {
		return wire.Table{Family: unix.NFPROTO_IPV6, Name: table}
	}
	return wire.Table{Family: unix.NFPROTO_IPV4, Name: table}
}

func (t tables) has(table, chain string) (bool, error) { return t.o.HasChain(t.named(table), chain) }

// contains does not look closer: change will, without a program.
func (t tables) contains(string, string) (bool, error) { return true, nil }

func (t tables) change(table string, look func(view) (edits, error)) error {
	in := t.named(table)
	return t.o.Change(func() (out []wire.Message, err error) {
		e, err := look(live{t.o, in})
		for _, r := range e.rules {
			out = append(out, othertables.DeleteRule(in, r.chain, r.found.(listed).Rule))
		}
		for _, chain := range e.chains {
			out = append(out, othertables.DeleteChain(in, chain)...)
		}
		return out, err
	})
}

// live is a table that is looked at bit by bit.
type live struct {
	o  othertables.Conn
	in wire.Table
}

func (l live) has(chain string) (bool, error) { return l.o.HasChain(l.in, chain) }

func (l live) rules(chain string) (out []found, err error) {
	rules, err := l.o.Rules(l.in, chain)
	for _, r := range rules {
		out = append(out, listed{r})
	}
	return out, err
}

type listed struct{ othertables.Rule }

func (l listed) jump() string              { return l.Jump }
func (l listed) comment() string           { return l.Comment }
func (l listed) address(a netip.Addr) bool { return l.Names(a.AsSlice()) }
func (l listed) link(name string) bool     { return l.Names(append([]byte(name), 0)) }
