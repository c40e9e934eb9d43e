package nft

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
)

// Others is a door to tables that other programs keep: iptables, whose rules
// are nftables' where it is the newer one, and upstream's plugins. What an
// attachment has there is found by name, and taken away without a program.
type Others struct{ c conn }

// OpenOthers opens the door on the namespace that the thread is in.
func OpenOthers() (*Others, error) {
	c, err := dial()
	if err != nil {
		return nil, err
	}
	return &Others{c}, nil
}

// Close closes it.
func (o *Others) Close() { o.c.Close() }

// Has looks for a chain, with one question by name.
func (o *Others) Has(t Table, chain string) (bool, error) { return o.c.hasChain(t, chain) }

// Chains lists the names of a table's chains.
func (o *Others) Chains(t Table) (names []string, err error) {
	answers, err := o.c.Ask(t.Message(unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP))
	if err != nil && !absent(err) {
		return nil, fmt.Errorf("list the chains of nftables: %w", err)
	}
	for _, a := range answers {
		if wire.Text(wire.Find(a, unix.NFTA_CHAIN_TABLE)) == t.Name {
			names = append(names, wire.Text(wire.Find(a, unix.NFTA_CHAIN_NAME)))
		}
	}
	return names, nil
}

// Rules lists a chain. One that is not there has none.
func (o *Others) Rules(t Table, chain string) ([]Rule, error) { return o.c.rules(t, chain) }

// Edit is one step of a change.
type Edit struct{ m wire.Message }

// Without takes one rule out of a chain.
func Without(t Table, chain string, r Rule) Edit {
	handle := wire.Bytes(unix.NFTA_RULE_HANDLE, binary.BigEndian.AppendUint64(nil, r.handle))
	return Edit{t.Message(unix.NFT_MSG_DELRULE, 0, append(ruleAttrs(t, chain), handle)...)}
}

// WithoutChain takes a chain away with all that is in it. There must be no jump
// to it any more.
func WithoutChain(t Table, chain string) []Edit {
	return []Edit{
		{t.Message(unix.NFT_MSG_DELRULE, 0, ruleAttrs(t, chain)...)},
		{t.DeleteChain(chain)},
	}
}

// WithoutTable takes a table away with all that is in it.
func WithoutTable(t Table) Edit {
	return Edit{t.Message(unix.NFT_MSG_DELTABLE, 0, wire.String(unix.NFTA_TABLE_NAME, t.Name))}
}

// Change looks and then makes the edits that follow from it, all or none. Where
// somebody changed the ruleset in between, it looks again.
func (o *Others) Change(look func() ([]Edit, error)) error {
	for range tries {
		generation, err := o.c.Generation()
		if absent(err) {
			return nil
		}
		if err != nil {
			return err
		}
		edits, err := look()
		if err != nil || len(edits) == 0 {
			return err
		}
		var batch []wire.Message
		for _, e := range edits {
			batch = append(batch, e.m)
		}
		err = o.c.Commit(batch, generation)
		if !errors.Is(err, unix.ERESTART) && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return fmt.Errorf("the ruleset changed %d times while rules of a pod were to be removed", tries)
}
