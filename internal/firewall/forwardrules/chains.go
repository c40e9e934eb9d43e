package forwardrules

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/firewall/othertables"
)

// chain is one of another table, through which all forwarded packets go.
type chain struct {
	wire.Table
	name   string
	policy int32
}

var familyNames = map[uint8]string{unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6"}

func (f chain) String() string {
	return fmt.Sprintf("nftables table %s %s, chain %s", familyNames[f.Family], f.Table.Name, f.name)
}

// iptables reports whether the iptables program reads the chain: it does not
// know all that the nft program does.
func (f chain) iptables() bool {
	return f.Family != unix.NFPROTO_INET && f.Table.Name == "filter" && f.name == "FORWARD"
}

// forwardChains finds the chains of others on the forward hook. The kernel's list
// of the hook is as long as there are such chains. A kernel without it
// (CONFIG_NETFILTER_NETLINK_HOOK, from 5.14 on) lists all chains of the host.
func forwardChains(c *wire.Conn) (out []chain, err error) {
	for _, family := range []uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		// Numbers of linux/netfilter/nfnetlink_hook.h.
		const subsysHook, get, number = 12, 0, 1 // NFNL_SUBSYS_HOOK, NFNL_MSG_HOOK_GET, NFNLA_HOOK_HOOKNUM
		hooked, err := c.Ask(wire.Message{
			Type: subsysHook<<8 | get, Flags: unix.NLM_F_DUMP, Family: family, Body: []wire.Attr{wire.U32(number, unix.NF_INET_FORWARD)},
		})
		if err != nil {
			return allForwardChains(c)
		}
		for _, answer := range hooked {
			f, found := hookedChain(c, answer)
			if found && !slices.Contains(out, f) { // one of the family inet is on both
				out = append(out, f)
			}
		}
	}
	return out, nil
}

// hookedChain reads an answer about a hook, and asks for the chain that it names,
// if that is one of nftables.
func hookedChain(c *wire.Conn, answer []byte) (f chain, found bool) {
	// Numbers of linux/netfilter/nfnetlink_hook.h.
	const info, desc, table, family, name = 6, 1, 1, 2, 3 // NFNLA_HOOK_CHAIN_INFO, NFNLA_HOOK_INFO_DESC, NFNLA_CHAIN_*
	is := wire.Find(answer, info, desc)
	number := wire.Find(is, family)
	if len(number) == 0 {
		return f, false
	}
	t := wire.Table{Family: number[0], Name: wire.Text(wire.Find(is, table))}
	answers, err := c.Ask(t.GetChain(wire.Text(wire.Find(is, name))))
	if err != nil || len(answers) == 0 {
		return f, false // it is gone meanwhile
	}
	return forwardChain(t.Family, answers[0])
}

func allForwardChains(c *wire.Conn) (out []chain, err error) {
	for _, family := range []uint8{unix.NFPROTO_INET, unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		answers, err := c.Ask(wire.Table{Family: family}.Message(unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP))
		if err != nil {
			return nil, fmt.Errorf("list nftables' chains: %w", err)
		}
		for _, a := range answers {
			if f, ok := forwardChain(family, a); ok {
				out = append(out, f)
			}
		}
	}
	return out, nil
}

// forwardChain reads an answer about a chain, and says whether it is somebody
// else's on the forward hook.
func forwardChain(family uint8, answer []byte) (f chain, ok bool) {
	text := func(kind uint16) string { return wire.Text(wire.Find(answer, kind)) }
	f = chain{wire.Table{Family: family, Name: text(unix.NFTA_CHAIN_TABLE)}, text(unix.NFTA_CHAIN_NAME), wire.VerdictAccept}
	if p := wire.Find(answer, unix.NFTA_CHAIN_POLICY); p != nil {
		f.policy = int32(wire.Uint32(p))
	}
	hook := wire.Find(answer, unix.NFTA_CHAIN_HOOK, unix.NFTA_HOOK_HOOKNUM)
	ourTable := wire.Table{Family: unix.NFPROTO_INET, Name: "catena"}
	return f, wire.Uint32(hook) == unix.NF_INET_FORWARD && text(unix.NFTA_CHAIN_TYPE) == "filter" && f.Table != ourTable
}

// deepest is how many jumps the kernel follows (NFT_JUMP_STACK_SIZE).
const deepest = 16

// verdict is what rules do with a packet that none of them speaks of, and which
// rule of them does it: NFT_CONTINUE and len(rules) where none does.
func (f chain) verdict(c *wire.Conn, rules []othertables.Rule, depth int) (code int32, at int, err error) {
	for i, r := range rules {
		switch r.Verdict {
		case wire.VerdictDrop, wire.VerdictAccept, unix.NFT_RETURN:
			return r.Verdict, i, nil
		case unix.NFT_JUMP, unix.NFT_GOTO:
			if depth == deepest {
				continue
			}
			inner, err := othertables.Rules(c, f.Table, r.Jump)
			if err != nil {
				return unix.NFT_CONTINUE, i, err
			}
			code, _, err := f.verdict(c, inner, depth+1)
			if err != nil || code == wire.VerdictDrop || code == wire.VerdictAccept {
				return code, i, err
			}
			if r.Verdict == unix.NFT_GOTO {
				return unix.NFT_RETURN, i, nil
			}
		}
	}
	return unix.NFT_CONTINUE, len(rules), nil
}
