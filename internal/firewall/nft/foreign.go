package nft

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
)

// An accept in our table does not help where a chain of somebody else's on the
// same hook drops: a packet must pass all of them. So those chains are read as
// far as it takes to know what becomes of a packet that none of their rules
// speaks of.

// foreign is a chain of another table through which all forwarded packets go.
type foreign struct {
	Table
	name   string
	policy uint32
}

var familyNames = map[uint8]string{unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6"}

func (f foreign) String() string {
	return fmt.Sprintf("nftables table %s %s, chain %s", familyNames[f.Family], f.Table.Name, f.name)
}

// iptables reports whether the iptables program reads the chain: it does not
// know all that the nft program does.
func (f foreign) iptables() bool {
	return f.Family != unix.NFPROTO_INET && f.Table.Name == "filter" && f.name == "FORWARD"
}

// in makes a message about something in the chain's table.
func (f foreign) in(kind, flags uint16, body ...wire.Attr) wire.Message {
	return f.Table.Message(kind, flags, body...)
}

// forwardChain reads an answer about a chain, and says whether it is somebody
// else's on the forward hook.
func forwardChain(family uint8, answer []byte) (f foreign, ok bool) {
	f = foreign{Table: Table{Family: family}, policy: wire.VerdictAccept}
	var kind string
	for key, data := range wire.Attrs(answer) {
		switch key {
		case unix.NFTA_CHAIN_TABLE:
			f.Table.Name = wire.Text(data)
		case unix.NFTA_CHAIN_NAME:
			f.name = wire.Text(data)
		case unix.NFTA_CHAIN_TYPE:
			kind = wire.Text(data)
		case unix.NFTA_CHAIN_POLICY:
			f.policy = wire.Uint32(data)
		case unix.NFTA_CHAIN_HOOK:
			ok = wire.Uint32(wire.Find(data, unix.NFTA_HOOK_HOOKNUM)) == unix.NF_INET_FORWARD
		}
	}
	ours := f.Family == inet.Family && f.Table.Name == inet.Name
	return f, ok && kind == "filter" && !ours
}

func be32(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// deepest is how many jumps the kernel follows (NFT_JUMP_STACK_SIZE).
const deepest = 16

// lastWord is what rules do with a packet that none of them speaks of, and which
// rule of them does it.
func (c conn) lastWord(f foreign, rules []Rule, depth int) (fate, int, error) {
	for i, r := range rules {
		switch r.fate {
		case dropped, accepted, returns:
			return r.fate, i, nil
		case jumps, moves:
			if depth == deepest {
				continue
			}
			inner, err := c.rules(f.Table, r.Jump)
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
