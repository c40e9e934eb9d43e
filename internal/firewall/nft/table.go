package nft

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// datatype is a type of nftables: its number there, and its size in bytes.
type datatype struct{ id, size uint32 }

// The numbers are TYPE_* of nftables' datatype.h.
var (
	ipv4Addr    = datatype{7, 4}
	ipv6Addr    = datatype{8, 16}
	etherAddr   = datatype{9, 6}
	inetProto   = datatype{12, 1}
	inetService = datatype{13, 2}
	markType    = datatype{19, 4}
	ifnameType  = datatype{41, unix.IFNAMSIZ}
	verdictType = datatype{unix.NFT_DATA_VERDICT, 0}
)

// set is a set or, where it has data, a map.
type set struct {
	name     string
	key      []datatype
	data     []datatype
	interval bool
}

// hook says where the kernel enters a chain.
type hook struct {
	kind     string // filter or nat
	number   uint32
	priority int32
}

type chain struct {
	name  string
	hook  *hook // nil for a chain that others jump to
	rules []rule
	// grows says that profiles add rules, which stay when the static part is
	// sent again.
	grows bool
}

// rule is a list of expressions. Where it looks into anonymous sets, those are
// made before it.
type rule struct {
	exprs []expr
	anon  []anonymous
}

// anonymous is a set without a name. Within a batch its number tells it from
// others.
type anonymous struct {
	id    uint32
	of    datatype
	spans []span
}

// span is the values from the first to the last.
type span struct{ first, last []byte }

func only(value []byte) span { return span{value, value} }

func (s span) single() bool { return bytes.Equal(s.first, s.last) }

// match is a rule of the expressions of its parts. It is not copied into the
// static part, which is little else but calls of it.
//
//go:noinline
func match(parts ...[]expr) rule {
	var r rule
	for _, p := range parts {
		r.exprs = append(r.exprs, p...)
	}
	return r
}

func one(e ...expr) []expr { return e }

// table is the part of the ruleset that does not change: rules never come and
// go with pods, members of sets do.
type table struct {
	family  uint8
	name    string
	comment string
	sets    [][]set
	// patterns are sets that are made when they are needed, under names that are
	// longer.
	patterns []set
	// chains are made when they are needed: most calls send members alone, and a
	// plugin starts for every pod and verb.
	chains func() []chain
}

// layout is the set whose name tells which static part a table has. Every batch
// refers to it: where it is missing, the kernel refuses the batch, and it is
// sent again behind the whole static part.
var layout = set{name: "layout4", key: []datatype{markType}}

func (t *table) touch() message {
	return message{unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, t.family, []attr{
		stringAttr(unix.NFTA_SET_ELEM_LIST_TABLE, t.name), stringAttr(unix.NFTA_SET_ELEM_LIST_SET, layout.name),
		nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, Element{Key: native(1)}.encode("")),
	}}
}

// static is the whole of the table. It can be sent when some of it or all is
// there: sets and their members stay, chains are emptied and filled again, and
// as a batch is one transaction there is no moment without rules.
func (t *table) static() []message {
	batch := []message{{unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, t.family, []attr{
		stringAttr(unix.NFTA_TABLE_NAME, t.name), bytesAttr(tableUserdata, comment(t.comment)),
	}}}
	return append(batch, t.parts("", append([][]set{{layout}}, t.sets...), t.chains())...)
}

// parts adds sets and chains to the table. The sets' names end in the suffix.
func (t *table) parts(suffix string, sets [][]set, chains []chain) (batch []message) {
	for _, s := range slices.Concat(sets...) {
		s.name += suffix
		batch = append(batch, t.newSet(s, uint32(len(batch)+1)))
	}
	for _, c := range chains {
		batch = append(batch, t.newChain(c))
		if !c.grows {
			batch = append(batch, t.flush(c))
		}
	}
	for _, c := range chains {
		batch = append(batch, t.append(c.name, c.rules...)...)
	}
	return batch
}

// append adds rules at the end of a chain.
func (t *table) append(chain string, rules ...rule) (batch []message) {
	for _, r := range rules {
		for _, a := range r.anon {
			batch = append(batch, t.newAnonymous(a)...)
		}
		batch = append(batch, t.newRule(chain, r))
	}
	return batch
}

// comment is a comment as the nft program stores it: type, length, text, zero.
func comment(text string) []byte {
	if text == "" {
		return nil
	}
	return append(append([]byte{0, byte(len(text) + 1)}, text...), 0)
}

// concatenated is the number and size of a concatenation: six bits for each
// part's number, and each part padded to whole registers.
func concatenated(parts []datatype) (id, size uint32) {
	if len(parts) == 1 {
		return parts[0].id, parts[0].size
	}
	for _, p := range parts {
		id = id<<6 | p.id
		size += (p.size + 3) &^ 3
	}
	return id, size
}

func (t *table) newSet(s set, id uint32) message {
	var flags uint32
	keyID, keySize := concatenated(s.key)
	body := []attr{
		stringAttr(unix.NFTA_SET_TABLE, t.name), stringAttr(unix.NFTA_SET_NAME, s.name),
		u32Attr(unix.NFTA_SET_KEY_TYPE, keyID), u32Attr(unix.NFTA_SET_KEY_LEN, keySize), u32Attr(unix.NFTA_SET_ID, id),
	}
	if s.interval {
		flags |= unix.NFT_SET_INTERVAL | setConcat
		body = append(body, nest(unix.NFTA_SET_DESC, nest(setDescConcat, fieldSizes(s.key)...)))
	}
	if s.data != nil {
		flags |= unix.NFT_SET_MAP
		dataID, dataSize := concatenated(s.data)
		body = append(body, u32Attr(unix.NFTA_SET_DATA_TYPE, dataID), u32Attr(unix.NFTA_SET_DATA_LEN, dataSize))
	}
	if len(s.key) == 1 && (s.key[0] == markType || s.key[0] == ifnameType) {
		body = append(body, bytesAttr(unix.NFTA_SET_USERDATA, hostOrder))
	}
	return message{unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, t.family, append(body, u32Attr(unix.NFTA_SET_FLAGS, flags))}
}

// hostOrder tells the nft program how to print keys that are not in network
// order (NFTNL_UDATA_SET_KEYBYTEORDER, BYTEORDER_HOST_ENDIAN).
var hostOrder = append([]byte{0, 4}, native(1)...)

// Numbers that golang.org/x/sys does not have (linux/netfilter/nf_tables.h).
const (
	setConcat     = 0x80 // NFT_SET_CONCAT
	setDescConcat = 2    // NFTA_SET_DESC_CONCAT
	fieldLen      = 1    // NFTA_SET_FIELD_LEN
	elemKeyEnd    = 10   // NFTA_SET_ELEM_KEY_END
	tableUserdata = 6    // NFTA_TABLE_USERDATA
)

func fieldSizes(parts []datatype) []attr {
	var out []attr
	for _, p := range parts {
		out = append(out, nest(unix.NFTA_LIST_ELEM, u32Attr(fieldLen, p.size)))
	}
	return out
}

func (t *table) newChain(c chain) message {
	body := []attr{stringAttr(unix.NFTA_CHAIN_TABLE, t.name), stringAttr(unix.NFTA_CHAIN_NAME, c.name)}
	if c.hook != nil {
		body = append(body, stringAttr(unix.NFTA_CHAIN_TYPE, c.hook.kind), nest(unix.NFTA_CHAIN_HOOK,
			u32Attr(unix.NFTA_HOOK_HOOKNUM, c.hook.number), u32Attr(unix.NFTA_HOOK_PRIORITY, uint32(c.hook.priority))))
	}
	return message{unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, t.family, body}
}

func (t *table) flush(c chain) message {
	return message{unix.NFT_MSG_DELRULE, 0, t.family, []attr{
		stringAttr(unix.NFTA_RULE_TABLE, t.name), stringAttr(unix.NFTA_RULE_CHAIN, c.name),
	}}
}

func (t *table) newRule(chain string, r rule) message {
	return message{unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE | unix.NLM_F_APPEND, t.family, []attr{
		stringAttr(unix.NFTA_RULE_TABLE, t.name), stringAttr(unix.NFTA_RULE_CHAIN, chain),
		nest(unix.NFTA_RULE_EXPRESSIONS, r.exprs...),
	}}
}

func (t *table) newAnonymous(a anonymous) []message {
	flags := uint32(unix.NFT_SET_ANONYMOUS | unix.NFT_SET_CONSTANT)
	elements := a.elements()
	if a.ranges() {
		flags |= unix.NFT_SET_INTERVAL
	}
	made := []attr{
		stringAttr(unix.NFTA_SET_TABLE, t.name), stringAttr(unix.NFTA_SET_NAME, "__set%d"), u32Attr(unix.NFTA_SET_FLAGS, flags),
		u32Attr(unix.NFTA_SET_KEY_TYPE, a.of.id), u32Attr(unix.NFTA_SET_KEY_LEN, a.of.size), u32Attr(unix.NFTA_SET_ID, a.id),
	}
	if a.of == markType || a.of == ifnameType {
		made = append(made, bytesAttr(unix.NFTA_SET_USERDATA, hostOrder))
	}
	filled := []attr{
		stringAttr(unix.NFTA_SET_ELEM_LIST_TABLE, t.name), stringAttr(unix.NFTA_SET_ELEM_LIST_SET, "__set%d"),
		u32Attr(unix.NFTA_SET_ELEM_LIST_SET_ID, a.id), nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, elements...),
	}
	return []message{
		{unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, t.family, made},
		{unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, t.family, filled},
	}
}

func (a anonymous) ranges() bool {
	return slices.ContainsFunc(a.spans, func(s span) bool { return !s.single() })
}

// elements are the values or, in a set of ranges, the first of each range and
// what follows its last.
func (a anonymous) elements() (out []attr) {
	for _, s := range a.spans {
		out = append(out, Element{Key: s.first}.encode(""))
		if end, ok := next(s.last); ok && a.ranges() {
			out = append(out, nest(unix.NFTA_LIST_ELEM, value(unix.NFTA_SET_ELEM_KEY, end), u32Attr(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)))
		}
	}
	return out
}

// next is the number that follows, if there is one of that size.
func next(n []byte) ([]byte, bool) {
	n = bytes.Clone(n)
	for i := len(n) - 1; i >= 0; i-- {
		if n[i]++; n[i] != 0 {
			return n, true
		}
	}
	return nil, false
}

// setNamed finds a set's definition. A profile's set, or one that is made when
// it is needed, is like the one whose name comes before its suffix.
func (t *table) setNamed(name string) (set, error) {
	base, _, _ := strings.Cut(name, "_")
	for _, s := range slices.Concat(append(t.sets, t.patterns)...) {
		if s.name == base {
			return s, nil
		}
	}
	return set{}, fmt.Errorf("nftables table %s has no set %s", t.name, name)
}
