package nft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/netlink"
)

// Others is a door to tables that other programs keep: iptables, whose rules
// are nftables' where it is the newer one, and upstream's plugins. What an
// attachment has there is found by name, and taken away without a program.
type Others struct{ c conn }

// Table is a table by its family (unix.NFPROTO_*) and name.
type Table struct {
	Family uint8
	Name   string
}

// Rule is a rule of somebody else's, as far as it tells whose it is.
type Rule struct {
	handle uint64
	// Jump is the chain that the rule jumps or goes to, if any.
	Jump string
	// Comment is the rule's, as nft or as iptables keeps it.
	Comment string
	// Values are what the rule compares with and loads: addresses among others,
	// of which iptables leaves out the bytes that a mask does.
	Values [][]byte
}

// Names reports whether an address, an interface or whatever else stands in
// the rule.
func (r Rule) Names(value []byte) bool {
	return slices.ContainsFunc(r.Values, func(v []byte) bool { return bytes.Equal(v, value) })
}

// OpenOthers opens the door on the namespace that the thread is in.
func OpenOthers() (*Others, error) {
	c, err := dial()
	if err != nil {
		return nil, err
	}
	return &Others{c}, nil
}

// Close closes it.
func (o *Others) Close() { o.c.Close() }

func chainAttrs(t Table, chain string) []attr {
	return []attr{stringAttr(unix.NFTA_CHAIN_TABLE, t.Name), stringAttr(unix.NFTA_CHAIN_NAME, chain)}
}

func ruleAttrs(t Table, chain string) []attr {
	return []attr{stringAttr(unix.NFTA_RULE_TABLE, t.Name), stringAttr(unix.NFTA_RULE_CHAIN, chain)}
}

// absent are the answers of a kernel that has no such table or chain, or no
// nftables at all.
func absent(err error) bool {
	for _, no := range []error{unix.ENOENT, unix.EINVAL, unix.EOPNOTSUPP, unix.EAFNOSUPPORT} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// Has looks for a chain, with one question by name.
func (o *Others) Has(t Table, chain string) (bool, error) {
	_, err := o.c.ask(message{unix.NFT_MSG_GETCHAIN, 0, t.Family, chainAttrs(t, chain)})
	if absent(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("nftables chain %s %s: %w", t.Name, chain, err)
	}
	return true, nil
}

// Chains lists the names of a table's chains.
func (o *Others) Chains(t Table) (names []string, err error) {
	answers, err := o.c.ask(message{unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP, t.Family, nil})
	if err != nil && !absent(err) {
		return nil, fmt.Errorf("list the chains of nftables: %w", err)
	}
	for _, a := range answers {
		if netlink.Text(netlink.Find(a, unix.NFTA_CHAIN_TABLE)) == t.Name {
			names = append(names, netlink.Text(netlink.Find(a, unix.NFTA_CHAIN_NAME)))
		}
	}
	return names, nil
}

// Rules lists a chain. One that is not there has none.
func (o *Others) Rules(t Table, chain string) ([]Rule, error) {
	answers, err := o.c.ask(message{unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, t.Family, ruleAttrs(t, chain)})
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list nftables chain %s %s: %w", t.Name, chain, err)
	}
	var out []Rule
	for _, a := range answers {
		// An older kernel lists more than it is asked for.
		if netlink.Text(netlink.Find(a, unix.NFTA_RULE_CHAIN)) == chain && netlink.Text(netlink.Find(a, unix.NFTA_RULE_TABLE)) == t.Name {
			out = append(out, decodeRule(a))
		}
	}
	return out, nil
}

func decodeRule(b []byte) (r Rule) {
	for kind, data := range attrs(b) {
		switch kind {
		case unix.NFTA_RULE_HANDLE:
			if len(data) == 8 {
				r.handle = binary.BigEndian.Uint64(data)
			}
		case unix.NFTA_RULE_USERDATA: // type, length, text, zero
			if len(data) > 2 && data[0] == 0 && int(data[1]) <= len(data)-2 {
				r.Comment = netlink.Text(data[2 : 2+int(data[1])])
			}
		case unix.NFTA_RULE_EXPRESSIONS:
			for _, e := range attrs(data) {
				r.read(netlink.Text(netlink.Find(e, unix.NFTA_EXPR_NAME)), netlink.Find(e, unix.NFTA_EXPR_DATA))
			}
		}
	}
	return r
}

// read takes what is looked at out of one expression.
func (r *Rule) read(name string, data []byte) {
	switch name {
	case "cmp":
		r.value(netlink.Find(data, unix.NFTA_CMP_DATA))
	case "immediate":
		load := netlink.Find(data, unix.NFTA_IMMEDIATE_DATA)
		r.value(load)
		r.Jump = netlink.Text(netlink.Find(netlink.Find(load, unix.NFTA_DATA_VERDICT), unix.NFTA_VERDICT_CHAIN))
	case "match": // iptables' comment
		if netlink.Text(netlink.Find(data, unix.NFTA_MATCH_NAME)) == "comment" {
			text, _, _ := strings.Cut(string(netlink.Find(data, unix.NFTA_MATCH_INFO)), "\x00")
			r.Comment = text
		}
	}
}

func (r *Rule) value(data []byte) {
	if v := netlink.Find(data, unix.NFTA_DATA_VALUE); v != nil {
		r.Values = append(r.Values, v)
	}
}

// Edit is one step of a change.
type Edit struct{ m message }

// Without takes one rule out of a chain.
func Without(t Table, chain string, r Rule) Edit {
	handle := bytesAttr(unix.NFTA_RULE_HANDLE, binary.BigEndian.AppendUint64(nil, r.handle))
	return Edit{message{unix.NFT_MSG_DELRULE, 0, t.Family, append(ruleAttrs(t, chain), handle)}}
}

// WithoutChain takes a chain away with all that is in it. There must be no jump
// to it any more.
func WithoutChain(t Table, chain string) []Edit {
	return []Edit{
		{message{unix.NFT_MSG_DELRULE, 0, t.Family, ruleAttrs(t, chain)}},
		{message{unix.NFT_MSG_DELCHAIN, 0, t.Family, chainAttrs(t, chain)}},
	}
}

// WithoutTable takes a table away with all that is in it.
func WithoutTable(t Table) Edit {
	return Edit{message{unix.NFT_MSG_DELTABLE, 0, t.Family, []attr{stringAttr(unix.NFTA_TABLE_NAME, t.Name)}}}
}

// Change looks and then makes the edits that follow from it, all or none. Where
// somebody changed the ruleset in between, it looks again.
func (o *Others) Change(look func() ([]Edit, error)) error {
	for range tries {
		generation, err := o.c.generation()
		if absent(err) {
			return nil
		}
		if err != nil {
			return err
		}
		edits, err := look()
		if err != nil || len(edits) == 0 {
			return err
		}
		var batch []message
		for _, e := range edits {
			batch = append(batch, e.m)
		}
		err = o.c.commit(batch, generation)
		if !errors.Is(err, unix.ERESTART) && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return fmt.Errorf("the ruleset changed %d times while rules of a pod were to be removed", tries)
}
