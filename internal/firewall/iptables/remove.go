package iptables

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/state/name"
)

// trace is a chain of an attachment's, and where the jumps to it are.
type trace struct {
	table, chain string
	from         []string
	// of limits it to the jumps of these addresses; the chain stays as long as
	// there are others. Without any, all is taken away.
	of []netip.Addr
}

// remove takes the trace away wherever it is, and says whether it was anywhere.
func (t trace) remove() (removed bool, err error) {
	removed, err = amend(t.table, t.chain, t.edits)
	if err != nil {
		err = fmt.Errorf("iptables chain %s: %w", t.chain, err)
	}
	return removed, err
}

func (t trace) edits(v view) (e edits, err error) {
	if there, err := v.has(t.chain); err != nil || !there {
		return e, err
	}
	stays := false
	for _, chain := range t.from {
		rules, err := v.rules(chain)
		if err != nil {
			return e, err
		}
		for _, r := range rules {
			switch {
			case r.jump() != t.chain:
			case t.of == nil || slices.ContainsFunc(t.of, r.address):
				e.rules = append(e.rules, placed{chain, r})
			default:
				stays = true
			}
		}
	}
	if !stays {
		e.chains = append(e.chains, t.chain)
	}
	return e, nil
}

// there reports whether the trace is anywhere, with a jump for each address.
func (t trace) there() (whole bool, err error) {
	_, err = amend(t.table, t.chain, func(v view) (none edits, err error) {
		for _, chain := range t.from {
			rules, err := v.rules(chain)
			if err != nil {
				return none, err
			}
			whole = whole || slices.ContainsFunc(rules, func(f found) bool {
				return f.jump() == t.chain && (t.of == nil || slices.ContainsFunc(t.of, f.address))
			})
		}
		return none, nil
	})
	return whole, err
}

// collect removes the traces that look like this one, whose rules' comments
// begin with a text, and whose chains begin with a prefix and are none of those
// that are valid.
func collect(like trace, prefix, comment string, valid []string) error {
	var stale []string
	err := each(func(_ bool, r ruleset) error {
		if may, err := r.contains(like.table, comment); err != nil || !may {
			return err
		}
		return r.change(like.table, func(v view) (none edits, err error) {
			for _, chain := range like.from {
				rules, err := v.rules(chain)
				if err != nil {
					return none, err
				}
				for _, f := range rules {
					if strings.HasPrefix(f.comment(), comment+" ") && strings.HasPrefix(f.jump(), prefix) && !slices.Contains(valid, f.jump()) {
						stale = append(stale, f.jump())
					}
				}
			}
			return none, nil
		})
	})
	errs := []error{err}
	for _, chain := range stale {
		like.chain = chain
		_, err := like.remove()
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// chains are the names of the attachments' chains.
func chains(prefix string, of []name.Attachment) (names []string) {
	for _, at := range of {
		names = append(names, at.UpstreamChain(prefix))
	}
	return names
}

// common is a chain that attachments share, and where the jumps to it are.
type common struct {
	chain string
	from  []string
}

// sweep takes shared chains away once the first of them, which all others serve,
// is empty. Where somebody else refers to one, they stay.
func sweep(table string, all ...common) error {
	return each(func(_ bool, r ruleset) error {
		if there, err := r.has(table, all[0].chain); err != nil || !there {
			return err
		}
		err := r.change(table, func(v view) (e edits, err error) {
			rules, err := v.rules(all[0].chain)
			if err != nil || len(rules) > 0 {
				return e, err
			}
			for _, c := range all {
				if err := e.takeAway(v, c); err != nil {
					return edits{}, err
				}
			}
			return e, nil
		})
		if _, isOlder := r.(older); isOlder || errors.Is(err, unix.EBUSY) {
			return nil // somebody refers to one of them
		}
		return err
	})
}

func (e *edits) takeAway(v view, c common) error {
	there, err := v.has(c.chain)
	if err != nil || !there {
		return err
	}
	for _, chain := range c.from {
		rules, err := v.rules(chain)
		if err != nil {
			return err
		}
		for _, r := range rules {
			if r.jump() == c.chain {
				e.rules = append(e.rules, placed{chain, r})
			}
		}
	}
	e.chains = append(e.chains, c.chain)
	return nil
}
