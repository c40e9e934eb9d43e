package iptables

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	goiptables "github.com/coreos/go-iptables/iptables"
)

// rule is a rule in iptables' words. One that is shared is put in where it is
// missing, one that is first before all others.
type rule struct {
	chain         string
	words         []string
	shared, first bool
}

// after is the word behind one of the options.
func (r rule) after(options ...string) string {
	for i, w := range r.words {
		if i > 0 && slices.Contains(options, r.words[i-1]) {
			return w
		}
	}
	return ""
}

func (r rule) jump() string    { return r.after("-j", "-g") }
func (r rule) comment() string { return r.after("--comment") }

func (r rule) names(a netip.Addr) bool {
	return slices.Contains(r.words, netip.PrefixFrom(a, a.BitLen()).String())
}

// list gives the rules of a chain. One that is not there has none.
func list(ipt *goiptables.IPTables, table, chain string) (rules []rule, err error) {
	lines, err := ipt.List(table, chain)
	if err != nil {
		// Some releases say of a chain that is not there that it is incompatible.
		if chains, cerr := ipt.ListChains(table); cerr == nil && !slices.Contains(chains, chain) {
			return nil, nil
		}
	}
	for _, l := range lines {
		if words := split(l); len(words) > 2 && words[0] == "-A" {
			rules = append(rules, rule{chain: chain, words: words[2:]})
		}
	}
	return rules, said(err)
}

// split takes a line apart as iptables writes it.
func split(line string) (words []string) {
	word, started, quoted, escaped := "", false, false, false
	for _, c := range line + " " {
		switch {
		case escaped || c != '\\' && c != '"' && (c != ' ' || quoted):
			word, started, escaped = word+string(c), true, false
		case c == '\\':
			escaped = true
		case c == '"':
			quoted, started = !quoted, true
		case started:
			words, word, started = append(words, word), "", false
		}
	}
	return words
}

// ruleset is what an attachment asks for in one table of one family, and the
// chains, which are made where they are missing.
type ruleset struct {
	six    bool
	table  string
	chains []string
	rules  []rule
}

// open opens the program that rules are put in by, nil where there are none.
func (s ruleset) open() (*goiptables.IPTables, error) {
	if len(s.rules) == 0 {
		return nil, nil
	}
	return open(s.six)
}

// add puts the rules in. Where it fails, the attachment's Del takes back what it
// has put in.
func (s ruleset) add() error {
	ipt, err := s.open()
	if ipt == nil {
		return err
	}
	for _, chain := range s.chains {
		there, err := ipt.ChainExists(s.table, chain)
		if err == nil && !there {
			err = ipt.NewChain(s.table, chain)
		}
		if err != nil {
			return said(err)
		}
	}
	for _, r := range s.rules {
		switch {
		case r.first:
			err = ipt.InsertUnique(s.table, r.chain, 1, r.words...)
		case r.shared:
			err = ipt.AppendUnique(s.table, r.chain, r.words...)
		default:
			err = ipt.Append(s.table, r.chain, r.words...)
		}
		if err != nil {
			return said(err)
		}
	}
	if s.table == "filter" {
		return ensureStageOrder(ipt)
	}
	return nil
}

// check names every rule that is missing, those that are shared too.
func (s ruleset) check() error {
	ipt, err := s.open()
	if ipt == nil {
		return err
	}
	var missing []error
	for _, r := range s.rules {
		// A chain that is missing is an error of the program's, which says so.
		if there, err := ipt.Exists(s.table, r.chain, r.words...); !there {
			missing = append(missing, fmt.Errorf("table %s has no rule %s %s", s.table, r.chain, strings.Join(r.words, " ")), said(err))
		}
		if r.chain == toStages.chain && r.jump() == chainStage1 {
			missing = append(missing, checkStageOrder(ipt))
		}
	}
	return errors.Join(missing...)
}
