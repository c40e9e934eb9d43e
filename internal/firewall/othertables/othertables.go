// Package othertables reads and changes tables of nftables that other programs
// keep: iptables-nft, a firewall, upstream's plugins. It finds chains and rules by
// name and comment, and executes no program. Tables of iptables-legacy it only reads.
package othertables

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/kernel"
)

// absent are the answers of a kernel that has no such table or chain, or no
// nftables at all.
func absent(err error) bool {
	return kernel.IsAny(err, unix.ENOENT, unix.EINVAL, unix.EOPNOTSUPP, unix.EAFNOSUPPORT)
}

// HasChain looks for a chain, with one question by name.
func HasChain(c *wire.Conn, t wire.Table, chain string) (bool, error) {
	answers, err := ask(c, t, t.GetChain(chain))
	return len(answers) > 0, err
}

// Chains lists the names of a table's chains.
func Chains(c *wire.Conn, t wire.Table) (names []string, err error) {
	answers, err := ask(c, t, t.Message(unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP))
	for _, a := range answers {
		if wire.Text(wire.Find(a, unix.NFTA_CHAIN_TABLE)) == t.Name {
			names = append(names, wire.Text(wire.Find(a, unix.NFTA_CHAIN_NAME)))
		}
	}
	return names, err
}

// Rules lists a chain. One that is not there has none.
func Rules(c *wire.Conn, t wire.Table, chain string) (rules []Rule, err error) {
	answers, err := ask(c, t, ruleMessage(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, t, chain))
	for _, a := range answers {
		// An older kernel lists more than it is asked for.
		if wire.Text(wire.Find(a, unix.NFTA_RULE_CHAIN)) == chain && wire.Text(wire.Find(a, unix.NFTA_RULE_TABLE)) == t.Name {
			rules = append(rules, decode(a))
		}
	}
	return rules, err
}

// RuleAt gives the rule that has a handle, the zero Rule where there is none.
func RuleAt(c *wire.Conn, t wire.Table, chain string, handle uint64) (Rule, error) {
	answers, err := ask(c, t, ruleMessage(unix.NFT_MSG_GETRULE, 0, t, chain, wire.U64(unix.NFTA_RULE_HANDLE, handle)))
	if err != nil || len(answers) == 0 {
		return Rule{}, err
	}
	return decode(answers[0]), nil
}

// ask asks about a table. One that is not there has nothing.
func ask(c *wire.Conn, t wire.Table, question wire.Message) ([][]byte, error) {
	answers, err := c.Ask(question)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("nftables table %s: %w", t.Name, err)
	}
	return answers, nil
}

func ruleMessage(kind, flags uint16, t wire.Table, chain string, more ...wire.Attr) wire.Message {
	return t.Message(kind, flags, append(more, wire.String(unix.NFTA_RULE_CHAIN, chain))...)
}

// InsertRule puts a rule before the one that has a handle; where that is 0, at the
// head of the chain or, with NLM_F_APPEND, at its end.
func InsertRule(t wire.Table, chain string, before uint64, flags uint16, comment string, exprs ...wire.Expr) wire.Message {
	more := []wire.Attr{wire.Nest(unix.NFTA_RULE_EXPRESSIONS, exprs...), wire.Bytes(unix.NFTA_RULE_USERDATA, wire.Comment(comment))}
	if before != 0 {
		more = append(more, wire.U64(unix.NFTA_RULE_POSITION, before))
	}
	return ruleMessage(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|flags, t, chain, more...)
}

// DeleteRule takes one rule out of a chain.
func DeleteRule(t wire.Table, chain string, r Rule) wire.Message {
	return ruleMessage(unix.NFT_MSG_DELRULE, 0, t, chain, wire.U64(unix.NFTA_RULE_HANDLE, r.Handle))
}

// DeleteChain takes a chain away with all that is in it. There must be no jump
// to it any more.
func DeleteChain(t wire.Table, chain string) []wire.Message {
	return []wire.Message{t.Flush(chain), t.DeleteChain(chain)}
}

// DeleteTable takes a table away with all that is in it.
func DeleteTable(t wire.Table) wire.Message {
	return t.Message(unix.NFT_MSG_DELTABLE, 0)
}
