package iptables

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	goiptables "github.com/coreos/go-iptables/iptables"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/firewall/othertables"
)

// place is where a table can be: the kernel keeps those of iptables-nft, which
// are nftables', apart from those of iptables-legacy. It is asked without a
// program.
type place struct {
	table string
	six   bool
	nft   *wire.Conn // nil: iptables-legacy's
}

func (p place) inNft() wire.Table {
	if p.six {
		return wire.Table{Family: unix.NFPROTO_IPV6, Name: p.table}
	}
	return wire.Table{Family: unix.NFPROTO_IPV4, Name: p.table}
}

func (p place) inLegacy(text string) (bool, error) {
	image, err := othertables.ReadLegacy(p.six, p.table)
	return bytes.Contains(image.Entries, []byte(text)), err
}

// hasChain asks for a chain by its name.
func (p place) hasChain(name string) (bool, error) {
	if p.nft != nil {
		return othertables.HasChain(p.nft, p.inNft(), name)
	}
	return p.inLegacy(name + "\x00")
}

// hasRule looks for such a rule in a chain. In a table of iptables-legacy it only
// looks for the text that all such rules have as the beginning of their comment.
func (p place) hasRule(chain, text string, such func(comment, jump string) bool) (bool, error) {
	if p.nft == nil {
		return p.inLegacy(text)
	}
	rules, err := othertables.Rules(p.nft, p.inNft(), chain)
	return slices.ContainsFunc(rules, func(r othertables.Rule) bool { return such(r.Comment, r.Jump) }), err
}

// open opens the program that has its tables there.
func (p place) open() (*goiptables.IPTables, error) {
	if p.nft != nil {
		return open(p.six, "-nft")
	}
	return open(p.six, "-legacy")
}

// wherever finds the places of a table where the kernel has something, and does
// with the program of each what is to be done, if anything. It does not stop at an
// error. One socket asks for all of it: the end of each costs a DEL time.
func wherever(table string, has func(place) (bool, error), do func(*goiptables.IPTables) error) (anywhere bool, err error) {
	inNft, err := wire.Dial()
	places := []place{{table, false, nil}, {table, true, nil}}
	if err == nil {
		defer inNft.Close()
		places = append(places, place{table, false, inNft}, place{table, true, inNft})
	} else if errors.Is(err, unix.EPROTONOSUPPORT) {
		err = nil
	}
	errs := []error{err}
	for _, p := range places {
		there, err := has(p)
		anywhere = anywhere || there
		if there && do != nil {
			ipt, oerr := p.open()
			if err = oerr; err == nil {
				err = do(ipt)
			}
		}
		errs = append(errs, err)
	}
	return anywhere, errors.Join(errs...)
}

// chain is a chain in a table, and the chains with jumps to it.
type chain struct {
	table, name string
	from        []string
}

// some finds the places that have one of the chains.
func some(chains ...chain) func(place) (bool, error) {
	return func(p place) (there bool, err error) {
		for _, c := range chains {
			has, herr := p.hasChain(c.name)
			there, err = there || has, errors.Join(err, herr)
		}
		return there, err
	}
}

// wherever does something in each place that has the chain.
func (c chain) wherever(do func(*goiptables.IPTables) error) (anywhere bool, err error) {
	return wherever(c.table, some(c), do)
}

// jumps are the rules that lead to the chain.
func (c chain) jumps(ipt *goiptables.IPTables) (jumps []rule, err error) {
	for _, from := range c.from {
		rules, lerr := list(ipt, c.table, from)
		jumps = append(jumps, slices.DeleteFunc(rules, func(r rule) bool { return r.jump() != c.name })...)
		err = errors.Join(err, lerr)
	}
	return jumps, err
}

// rules are those in the chain.
func (c chain) rules(ipt *goiptables.IPTables) ([]rule, error) { return list(ipt, c.table, c.name) }

// everywhere lists something of the chain in each place that has it.
func (c chain) everywhere(list func(*goiptables.IPTables) ([]rule, error)) (all []rule, err error) {
	_, err = c.wherever(func(ipt *goiptables.IPTables) error {
		rules, err := list(ipt)
		all = append(all, rules...)
		return err
	})
	return all, err
}

// removeFrom removes the chain and the jumps to it. It does not ask whether the
// chain is there: iptables says no where the kernel's answer was lost.
func (c chain) removeFrom(ipt *goiptables.IPTables) error {
	jumps, err := c.jumps(ipt)
	for _, r := range jumps {
		err = errors.Join(err, said(ipt.Delete(c.table, r.chain, r.words...)))
	}
	if cerr := ipt.ClearChain(c.table, c.name); cerr != nil {
		return errors.Join(err, said(cerr))
	}
	return errors.Join(err, said(ipt.DeleteChain(c.table, c.name)))
}

// remove removes it wherever it is, and says whether it was anywhere.
func (c chain) remove() (removed bool, err error) { return c.wherever(c.removeFrom) }

// removeUnused removes chains that attachments share where the first of them,
// which all others serve, is empty or missing.
func removeUnused(chains ...chain) error {
	first := chains[0]
	_, err := wherever(first.table, some(chains...), func(ipt *goiptables.IPTables) error {
		used, err := list(ipt, first.table, first.name)
		if err != nil || len(used) > 0 {
			return err
		}
		for _, c := range chains {
			if cerr := c.removeFrom(ipt); !isReferredTo(cerr) {
				err = errors.Join(err, cerr)
			}
		}
		return err
	})
	return err
}

// isReferredTo reports whether a chain stays since somebody else's rules lead to
// it (EBUSY or EMLINK), in the words of iptables-nft and of iptables-legacy.
func isReferredTo(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "resource busy") || strings.Contains(err.Error(), "Too many links"))
}
