package wire

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Table is a table by its family (unix.NFPROTO_*) and name.
type Table struct {
	Family uint8
	Name   string
}

// Hook says where the kernel enters a chain.
type Hook struct {
	Type     string // filter or nat
	Number   uint32
	Priority int32
}

// Rule is a list of expressions. Where it looks into anonymous sets, those are
// made before it.
type Rule struct {
	Exprs     []Expr
	Anonymous []Anonymous
}

// Match is a rule of the expressions of its parts.
func Match(parts ...[]Expr) Rule { return Rule{Exprs: slices.Concat(parts...)} }

// One is expressions as a part of a rule.
func One(e ...Expr) []Expr { return e }

// Message is a message about something in the table, or about the table.
func (t Table) Message(kind, flags uint16, body ...Attr) Message {
	if t.Name != "" {
		// The number is that of NFTA_CHAIN_TABLE, NFTA_RULE_TABLE and the like too.
		body = append(body, String(unix.NFTA_TABLE_NAME, t.Name))
	}
	return Message{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | kind, Flags: flags, Family: t.Family, Body: body}
}

// NewTable makes the table.
func (t Table) NewTable(comment string) Message {
	const userdata = 6 // NFTA_TABLE_USERDATA
	return t.Message(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, Bytes(userdata, Comment(comment)))
}

// NewChain makes a chain. One without a hook is for others to jump to.
func (t Table) NewChain(name string, hook *Hook) Message {
	body := []Attr{String(unix.NFTA_CHAIN_NAME, name)}
	if hook != nil {
		body = append(body, String(unix.NFTA_CHAIN_TYPE, hook.Type), Nest(unix.NFTA_CHAIN_HOOK,
			U32(unix.NFTA_HOOK_HOOKNUM, hook.Number), U32(unix.NFTA_HOOK_PRIORITY, uint32(hook.Priority))))
	}
	return t.Message(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, body...)
}

// DeleteChain removes a chain that is empty and that nothing jumps to.
func (t Table) DeleteChain(name string) Message {
	return t.Message(unix.NFT_MSG_DELCHAIN, 0, String(unix.NFTA_CHAIN_NAME, name))
}

// GetChain asks for a chain.
func (t Table) GetChain(name string) Message {
	return t.Message(unix.NFT_MSG_GETCHAIN, 0, String(unix.NFTA_CHAIN_NAME, name))
}

// GetSet asks for a set.
func (t Table) GetSet(name string) Message {
	return t.Message(unix.NFT_MSG_GETSET, 0, String(unix.NFTA_SET_NAME, name))
}

// Flush removes the rules of a chain.
func (t Table) Flush(chain string) Message {
	return t.Message(unix.NFT_MSG_DELRULE, 0, String(unix.NFTA_RULE_CHAIN, chain))
}

// NewRules adds rules at the end of a chain.
func (t Table) NewRules(chain string, rules ...Rule) (batch []Message) {
	for _, r := range rules {
		batch = append(batch, t.NewRule(unix.NLM_F_APPEND, chain, r)...)
	}
	return batch
}

// NewRule adds a rule at the head of a chain or, with NLM_F_APPEND, at its end.
func (t Table) NewRule(flags uint16, chain string, r Rule) (batch []Message) {
	for _, a := range r.Anonymous {
		batch = append(batch, t.newAnonymous(a)...)
	}
	return append(batch, t.Message(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|flags,
		String(unix.NFTA_RULE_CHAIN, chain), Nest(unix.NFTA_RULE_EXPRESSIONS, r.Exprs...)))
}
