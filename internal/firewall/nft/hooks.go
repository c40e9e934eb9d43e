package nft

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
)

// foreigners finds the chains of others on the forward hook. The kernel's list
// of the hook is as long as there are such chains. A kernel without it
// (CONFIG_NETFILTER_NETLINK_HOOK, from 5.14 on) lists all chains of the host.
func (c conn) foreigners() (out []foreign, err error) {
	for _, family := range []uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		on, err := c.onHook(family)
		if err != nil {
			return c.amongAll()
		}
		for _, f := range on {
			if slices.ContainsFunc(out, func(o foreign) bool { return o.String() == f.String() }) {
				continue // a chain of the family inet is on both hooks
			}
			answers, err := c.Ask(f.in(unix.NFT_MSG_GETCHAIN, 0, chainAttrs(f.Table, f.name)...))
			if err != nil || len(answers) == 0 {
				continue // it is gone meanwhile
			}
			if f, ok := forwardChain(f.Family, answers[0]); ok {
				out = append(out, f)
			}
		}
	}
	return out, nil
}

// amongAll finds them in the list of all chains.
func (c conn) amongAll() (out []foreign, err error) {
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

// Numbers of linux/netfilter/nfnetlink_hook.h.
const (
	hookChain   = 6 // NFNLA_HOOK_CHAIN_INFO
	hookDesc    = 1 // NFNLA_HOOK_INFO_DESC
	chainTable  = 1 // NFNLA_CHAIN_TABLE
	chainFamily = 2 // NFNLA_CHAIN_FAMILY
	chainName   = 3 // NFNLA_CHAIN_NAME
)

// onHook lists the chains that a family's forwarded packets go through.
func (c conn) onHook(family uint8) (out []foreign, err error) {
	answers, err := c.Hooks(family, unix.NF_INET_FORWARD)
	if err != nil {
		return nil, err
	}
	for _, a := range answers {
		desc := wire.Find(a, hookChain, hookDesc)
		f := foreign{Table: Table{Name: wire.Text(wire.Find(desc, chainTable))}, name: wire.Text(wire.Find(desc, chainName))}
		if b := wire.Find(desc, chainFamily); len(b) > 0 {
			f.Family = b[0]
		}
		if f.name != "" { // else it is no chain of nftables
			out = append(out, f)
		}
	}
	return out, nil
}
