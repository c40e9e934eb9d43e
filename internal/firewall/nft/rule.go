package nft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
)

// Table is a table by its family (unix.NFPROTO_*) and name.
type Table = wire.Table

// Rule is a rule of somebody else's, as far as it tells whose it is.
type Rule struct {
	handle uint64
	fate   fate
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

func chainAttrs(t Table, chain string) []wire.Attr {
	return []wire.Attr{wire.String(unix.NFTA_CHAIN_TABLE, t.Name), wire.String(unix.NFTA_CHAIN_NAME, chain)}
}

func ruleAttrs(t Table, chain string) []wire.Attr {
	return []wire.Attr{wire.String(unix.NFTA_RULE_TABLE, t.Name), wire.String(unix.NFTA_RULE_CHAIN, chain)}
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

// hasChain looks for a chain, with one question by name.
func (c conn) hasChain(t Table, chain string) (bool, error) {
	_, err := c.Ask(t.GetChain(chain))
	if absent(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("nftables chain %s %s: %w", t.Name, chain, err)
	}
	return true, nil
}

// rules lists a chain. One that is not there has none.
func (c conn) rules(t Table, chain string) ([]Rule, error) {
	answers, err := c.Ask(t.Message(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, ruleAttrs(t, chain)...))
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list nftables chain %s %s: %w", t.Name, chain, err)
	}
	var out []Rule
	for _, a := range answers {
		// An older kernel lists more than it is asked for.
		if wire.Text(wire.Find(a, unix.NFTA_RULE_CHAIN)) == chain && wire.Text(wire.Find(a, unix.NFTA_RULE_TABLE)) == t.Name {
			out = append(out, decodeRule(a))
		}
	}
	return out, nil
}

func decodeRule(b []byte) (r Rule) {
	for kind, data := range wire.Attrs(b) {
		switch kind {
		case unix.NFTA_RULE_HANDLE:
			if len(data) == 8 {
				r.handle = binary.BigEndian.Uint64(data)
			}
		case unix.NFTA_RULE_USERDATA:
			r.Comment = wire.ReadComment(data)
		case unix.NFTA_RULE_EXPRESSIONS:
			r.fate = readFate(data)
			for _, e := range wire.Attrs(data) {
				r.read(wire.Text(wire.Find(e, unix.NFTA_EXPR_NAME)), wire.Find(e, unix.NFTA_EXPR_DATA))
			}
		}
	}
	return r
}

// read takes what is looked at out of one expression.
func (r *Rule) read(name string, data []byte) {
	switch name {
	case "cmp":
		r.value(wire.Find(data, unix.NFTA_CMP_DATA))
	case "immediate":
		load := wire.Find(data, unix.NFTA_IMMEDIATE_DATA)
		r.value(load)
		r.Jump = wire.Text(wire.Find(wire.Find(load, unix.NFTA_DATA_VERDICT), unix.NFTA_VERDICT_CHAIN))
	case "match": // iptables' comment
		if wire.Text(wire.Find(data, unix.NFTA_MATCH_NAME)) == "comment" {
			text, _, _ := strings.Cut(string(wire.Find(data, unix.NFTA_MATCH_INFO)), "\x00")
			r.Comment = text
		}
	}
}

func (r *Rule) value(data []byte) {
	if v := wire.Find(data, unix.NFTA_DATA_VALUE); v != nil {
		r.Values = append(r.Values, v)
	}
}

// fate is what becomes of every packet that comes to a rule.
type fate int

const (
	goesOn  fate = iota // or it depends on the packet
	dropped             // or refused
	accepted
	returns
	jumps // to the rule's chain
	moves // the same, without coming back
)

// readFate looks for a verdict that no condition comes before.
func readFate(expressions []byte) fate {
	for _, e := range wire.Attrs(expressions) {
		data := wire.Find(e, unix.NFTA_EXPR_DATA)
		const xtName = 1 // NFTA_MATCH_NAME, NFTA_TARGET_NAME
		switch wire.Text(wire.Find(e, unix.NFTA_EXPR_NAME)) {
		case "counter", "log":
		case "match":
			if wire.Text(wire.Find(data, xtName)) != "comment" {
				return goesOn
			}
		case "target": // of iptables
			switch wire.Text(wire.Find(data, xtName)) {
			case "LOG", "NFLOG":
			case "REJECT":
				return dropped
			default:
				return goesOn
			}
		case "reject":
			return dropped
		case "immediate":
			return readVerdict(wire.Find(wire.Find(data, unix.NFTA_IMMEDIATE_DATA), unix.NFTA_DATA_VERDICT))
		default:
			return goesOn
		}
	}
	return goesOn
}

func readVerdict(b []byte) fate {
	if b == nil {
		return goesOn // a value, and not a verdict
	}
	switch int32(wire.Uint32(wire.Find(b, unix.NFTA_VERDICT_CODE))) {
	case wire.VerdictDrop:
		return dropped
	case wire.VerdictAccept:
		return accepted
	case unix.NFT_RETURN:
		return returns
	case unix.NFT_JUMP:
		return jumps
	case unix.NFT_GOTO:
		return moves
	}
	return goesOn
}
