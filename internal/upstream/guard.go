package upstream

import (
	"errors"
	"slices"
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

// Remove removes the jump and the chains, and the table with the last of them.
func (g Guard) Remove() error { return removeGuard(g.chain()) }

func removeGuard(chain string) error {
	c := chains{table: bridgeNAT, names: []string{chain, chain + "-mac"}, static: []string{guardHook}}
	return c.open(func(o *wire.Conn) error {
		return o.Change(func() ([]wire.Message, error) {
			edits, left, err := c.deleteRules(o, c.static, func(r othertables.Rule) bool { return r.Jump == chain })
			for _, name := range c.names {
				there, herr := othertables.HasChain(o, bridgeNAT, name)
				if there {
					edits = append(edits, othertables.DeleteChain(bridgeNAT, name)...)
				}
				err = errors.Join(err, herr)
			}
			if err != nil || left > 0 {
				return edits, err
			}
			return c.deleteTableIfEmpty(o, edits)
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
	c := chains{table: bridgeNAT, names: []string{guardHook}}
	return c.open(func(o *wire.Conn) error {
		rules, err := othertables.Rules(o, bridgeNAT, guardHook)
		for _, r := range rules {
			if strings.HasPrefix(r.Jump, guardPrefix) && !guardsOneOf(r, links) {
				err = errors.Join(err, removeGuard(r.Jump))
			}
		}
		return err
	})
}

func guardsOneOf(r othertables.Rule, links []*kernel.Link) bool {
	return slices.ContainsFunc(links, func(l *kernel.Link) bool {
		padded := make([]byte, unix.IFNAMSIZ)
		copy(padded, l.Name)
		return r.Names(padded)
	})
}
