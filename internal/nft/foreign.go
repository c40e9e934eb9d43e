package nft

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/netlink"
)

// An accept in our table does not help where a chain of somebody else's on the
// same hook drops: a packet must pass all of them. So those chains are read as
// far as it takes to know what becomes of a packet that none of their rules
// speaks of.

// foreign is a chain of another table through which all forwarded packets go.
type foreign struct {
	family      uint8
	table, name string
	policy      uint32
}

var familyNames = map[uint8]string{unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6"}

func (f foreign) String() string {
	return fmt.Sprintf("nftables table %s %s, chain %s", familyNames[f.family], f.table, f.name)
}

// iptables reports whether the iptables program reads the chain: it does not
// know all that the nft program does.
func (f foreign) iptables() bool {
	return f.family != unix.NFPROTO_INET && f.table == "filter" && f.name == "FORWARD"
}

// in makes a message about something in the chain's table.
func (f foreign) in(kind, flags uint16, body ...attr) message {
	return message{kind, flags, f.family, body}
}

// forwardChain reads an answer about a chain, and says whether it is somebody
// else's on the forward hook.
func forwardChain(family uint8, answer []byte) (f foreign, ok bool) {
	f = foreign{family: family, policy: verdictAccept}
	var kind string
	for key, data := range attrs(answer) {
		switch key {
		case unix.NFTA_CHAIN_TABLE:
			f.table = netlink.Text(data)
		case unix.NFTA_CHAIN_NAME:
			f.name = netlink.Text(data)
		case unix.NFTA_CHAIN_TYPE:
			kind = netlink.Text(data)
		case unix.NFTA_CHAIN_POLICY:
			f.policy = be32(data)
		case unix.NFTA_CHAIN_HOOK:
			ok = be32(netlink.Find(data, unix.NFTA_HOOK_HOOKNUM)) == unix.NF_INET_FORWARD
		}
	}
	ours := f.family == inet.family && f.table == inet.name
	return f, ok && kind == "filter" && !ours
}

func be32(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// fate is what becomes of every packet that comes to a rule.
type fate int

const (
	goesOn  fate = iota // or it depends on the packet
	dropped             // or refused
	accepted
	returns
	jumps // to the rule's target
	moves // the same, without coming back
)

// foreignRule is what is understood of a rule.
type foreignRule struct {
	handle  uint64
	comment string
	fate    fate
	target  string
}

// rules reads a chain of the table that f is in.
func (c conn) rules(f foreign, chain string) (out []foreignRule, err error) {
	answers, err := c.ask(f.in(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, stringAttr(unix.NFTA_RULE_TABLE, f.table), stringAttr(unix.NFTA_RULE_CHAIN, chain)))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("list the rules of %v: %w", f, err)
	}
	for _, a := range answers {
		out = append(out, readRule(a))
	}
	return out, nil
}

func readRule(answer []byte) (r foreignRule) {
	for key, data := range attrs(answer) {
		switch {
		case key == unix.NFTA_RULE_HANDLE && len(data) == 8:
			r.handle = binary.BigEndian.Uint64(data)
		case key == unix.NFTA_RULE_USERDATA:
			r.comment = readComment(data)
		case key == unix.NFTA_RULE_EXPRESSIONS:
			r.fate, r.target = readFate(data)
		}
	}
	return r
}

// readFate looks for a verdict that no condition comes before.
func readFate(expressions []byte) (fate, string) {
	for _, e := range attrs(expressions) {
		data := netlink.Find(e, unix.NFTA_EXPR_DATA)
		const xtName = 1 // NFTA_MATCH_NAME, NFTA_TARGET_NAME
		switch netlink.Text(netlink.Find(e, unix.NFTA_EXPR_NAME)) {
		case "counter", "log":
		case "match":
			if netlink.Text(netlink.Find(data, xtName)) != "comment" {
				return goesOn, ""
			}
		case "target": // of iptables
			switch netlink.Text(netlink.Find(data, xtName)) {
			case "LOG", "NFLOG":
			case "REJECT":
				return dropped, ""
			default:
				return goesOn, ""
			}
		case "reject":
			return dropped, ""
		case "immediate":
			return readVerdict(netlink.Find(netlink.Find(data, unix.NFTA_IMMEDIATE_DATA), unix.NFTA_DATA_VERDICT))
		default:
			return goesOn, ""
		}
	}
	return goesOn, ""
}

func readVerdict(b []byte) (fate, string) {
	if b == nil {
		return goesOn, "" // a value, and not a verdict
	}
	target := netlink.Text(netlink.Find(b, unix.NFTA_VERDICT_CHAIN))
	switch int32(be32(netlink.Find(b, unix.NFTA_VERDICT_CODE))) {
	case verdictDrop:
		return dropped, ""
	case verdictAccept:
		return accepted, ""
	case unix.NFT_RETURN:
		return returns, ""
	case unix.NFT_JUMP:
		return jumps, target
	case unix.NFT_GOTO:
		return moves, target
	}
	return goesOn, ""
}

// deepest is how many jumps the kernel follows (NFT_JUMP_STACK_SIZE).
const deepest = 16

// lastWord is what rules do with a packet that none of them speaks of, and which
// rule of them does it.
func (c conn) lastWord(f foreign, rules []foreignRule, depth int) (fate, int, error) {
	for i, r := range rules {
		switch r.fate {
		case dropped, accepted, returns:
			return r.fate, i, nil
		case jumps, moves:
			if depth == deepest {
				continue
			}
			inner, err := c.rules(f, r.target)
			if err != nil {
				return goesOn, i, err
			}
			word, _, err := c.lastWord(f, inner, depth+1)
			if err != nil || word == dropped || word == accepted {
				return word, i, err
			}
			if r.fate == moves {
				return returns, i, nil
			}
		}
	}
	return goesOn, len(rules), nil
}
