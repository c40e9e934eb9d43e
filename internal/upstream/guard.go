package upstream

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/firewall/othertables"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// Guard is upstream's guard against spoofed hardware addresses: two chains of
// the attachment's own in the table bridge nat, and a jump to the first.
type Guard struct{ Owner name.Attachment }

var bridgeNAT = wire.Table{Family: unix.NFPROTO_BRIDGE, Name: "nat"}

const (
	guardPrefix = "cni-br-iface-"
	guardHook   = "PREROUTING"
)

func (g Guard) chain() string { return guardPrefix + g.Owner.ContainerID + "-" + g.Owner.IfName }

// Holds looks for the jump and what it leads to.
func (g Guard) Holds() (bool, error) {
	c := chains{table: bridgeNAT, names: []string{g.chain()}}
	return c.have(func(r othertables.Rule) bool { return r.Jump == g.chain()+"-mac" })
}

// Remove takes the jump and the chains away, and the table with the last of them.
func (g Guard) Remove() error { return removeGuard(g.chain()) }

func removeGuard(chain string) error {
	c := chains{table: bridgeNAT, names: []string{chain, chain + "-mac"}, static: []string{guardHook}}
	return c.open(func(o othertables.Conn) error {
		return o.Change(func() (edits []wire.Message, err error) {
			rules, err := o.Rules(bridgeNAT, guardHook)
			if err != nil {
				return nil, err
			}
			for _, r := range rules {
				if r.Jump == chain {
					edits = append(edits, othertables.DeleteRule(bridgeNAT, guardHook, r))
				}
			}
			others := len(rules) - len(edits)
			for _, name := range c.names {
				there, err := o.HasChain(bridgeNAT, name)
				if err != nil {
					return nil, err
				}
				if there {
					edits = append(edits, othertables.DeleteChain(bridgeNAT, name)...)
				}
			}
			if others > 0 {
				return edits, nil
			}
			return c.whole(o, edits)
		})
	})
}

// CollectGuards is GC for guards of links that are gone. They do not name their
// network, but without the link they guard nothing.
func CollectGuards(k *kernel.Kernel) error {
	links, err := k.Links(kernel.Host)
	if err != nil {
		return err
	}
	var stale []string
	c := chains{table: bridgeNAT, names: []string{guardHook}}
	err = c.open(func(o othertables.Conn) error {
		rules, err := o.Rules(bridgeNAT, guardHook)
		for _, r := range rules {
			if strings.HasPrefix(r.Jump, guardPrefix) && !guardsOneOf(r, links) {
				stale = append(stale, r.Jump)
			}
		}
		return err
	})
	errs := []error{err}
	for _, chain := range stale {
		errs = append(errs, removeGuard(chain))
	}
	return errors.Join(errs...)
}

func guardsOneOf(r othertables.Rule, links []*kernel.Link) bool {
	for _, l := range links {
		padded := make([]byte, unix.IFNAMSIZ)
		copy(padded, l.Name)
		if r.Names(padded) {
			return true
		}
	}
	return false
}
