package nft

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/firewall/forwardrules"
	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state"
)

// Restore is that our tables have what the records say of all attachments that
// are alive, and nothing of those that are gone. Somebody else's reload wipes
// tables: "nft flush ruleset" and a restart of nftables.service take ours too,
// and a firewall that loads its own rules again takes the ones that Forward has
// put among them. While all is well, that is asking for a few things by name.
type Restore struct{ Needed bool }

// WithRestore puts Restore at the head of a plan, where ADD and CHECK come to it
// first, and restoreFirst at its end for DEL. It is idle where no fact has members
// here.
func WithRestore(p fact.Plan) fact.Plan {
	return append(append(fact.Plan{Restore{slices.ContainsFunc(p, hasMembers)}}, p...), restoreFirst{})
}

// restoreFirst restores before a DEL takes its own away: what another call puts
// back at the same time would else be back after the DEL, and nobody's.
type restoreFirst struct{ Restore }

func (restoreFirst) Del(k *kernel.Kernel) error { return restore(k) }

// hasMembers looks for a fact of this package, also inside one that wraps it.
func hasMembers(f fact.Fact) bool {
	if w, ok := f.(interface{ Unwrap() fact.Fact }); ok {
		f = w.Unwrap()
	}
	switch f.(type) {
	case Members, BridgePolicy, Localnet, GuardMAC, Forward:
		return !fact.Idle(f)
	}
	return false
}

func (r Restore) String() string { return "nft  restore what a reload of the firewall has flushed" }

// Idle says that the attachment has nothing in the tables.
func (r Restore) Idle() bool { return !r.Needed }

// Add restores.
func (r Restore) Add(k *kernel.Kernel) error { return restore(k) }

// Del does nothing: see restoreFirst.
func (r Restore) Del(*kernel.Kernel) error { return nil }

// Check restores too: that a table is gone is all attachments' loss.
func (r Restore) Check(k *kernel.Kernel) error { return restore(k) }

// restore is not the error of who happened to come by. Where our tables never
// were there is nothing to restore.
func restore(k *kernel.Kernel) error {
	if !slices.ContainsFunc(tables, (*table).remembered) {
		return nil
	}
	if err := overCall(k, func(c conn) error { c.restore(); return nil }); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return nil
}

func (c conn) restore() {
	c.retryPending()
	restored := false
	for _, t := range tables {
		there, err := c.hasLayout(t)
		if err == nil && !there && t.remembered() {
			restored, err = true, c.restoreTable(t)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "put back nftables table %s: %v\n", t.Name, err)
		}
	}
	// Where a table was gone, others have loaded their rules again too.
	if err := forwardrules.Restore(c.Conn, restored); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// hasLayout reports whether the table is there with the static part of this
// version, and had members.
func (c conn) hasLayout(t *table) (bool, error) {
	f, err := c.Get(t.Table, layoutElement)
	return f.Is(layoutElement), err
}

// restoreTable makes the table again with what all records say of pods that are
// alive, the members in one batch. Of two who do so the second finds that the
// ruleset has changed.
func (c conn) restoreTable(t *table) error {
	skip := map[string]bool{}
	for range tries {
		if there, err := c.hasLayout(t); err != nil || there {
			return err
		}
		live, err := liveRecords(t.Family)
		if err != nil || len(live) == 0 {
			return err
		}
		if err := c.Commit(t.static(), 0); err != nil {
			return err
		}
		if err := c.makeParts(t, live...); err != nil {
			return err
		}
		generation, err := c.Generation()
		if err != nil {
			return err
		}
		if there, err := c.hasLayout(t); err != nil || there {
			return err
		}
		batch, places := t.members(live, skip)
		err = c.Commit(batch, generation)
		var refused wire.Refused
		switch {
		case err == nil:
			fmt.Fprintf(os.Stderr, "nftables table %s was gone, or another version's: it is back, with what %d records of attachments say\n", t.Name, len(live))
			return nil
		case errors.Is(err, unix.ERESTART):
		case errors.As(err, &refused) && refused.Index > 0 && refused.Index < len(places):
			skip[places[refused.Index]] = true // a record that is damaged
		default:
			return err
		}
	}
	return fmt.Errorf("the ruleset changed %d times", tries)
}

// liveRecords are the records of a table whose pods are there, in the order in
// which they are to come back: where members are exclusive the first one's
// stand, else the last one's.
func liveRecords(family uint8) (live []record, err error) {
	for _, kind := range kinds {
		all, _, err := records(kind).All()
		if err != nil {
			return nil, err
		}
		slices.SortFunc(all, func(a, b record) int {
			if exclusive(kind) {
				return cmp.Compare(a.Since, b.Since)
			}
			return cmp.Compare(b.Since, a.Since)
		})
		for _, r := range all {
			if r.Family == family && !r.Abandoned() && len(r.Elements) > 0 {
				live = append(live, r)
			}
		}
	}
	return live, nil
}

// members is a batch of the members of records, and the place of each message's
// member. The first that has a place keeps it.
func (t *table) members(live []record, skip map[string]bool) (batch []wire.Message, places []string) {
	batch, places = []wire.Message{t.Add(layoutElement, "")}, []string{""}
	taken := map[string]bool{}
	for _, r := range live {
		for _, e := range r.Elements {
			place := e.Set + "\x00" + string(e.Key)
			if taken[place] || skip[place] {
				continue
			}
			taken[place] = true
			comment := r.Owner.Comment()
			if e.Shared {
				comment = ""
			}
			batch = append(t.retain(batch, e), t.Add(e.Element, comment))
			for len(places) < len(batch) {
				places = append(places, place)
			}
		}
	}
	return batch, places
}

// readyFolder has a file for each table that this boot's kernel has looked at, and
// another one where the table was made, or was about to be.
const readyFolder = state.Folder("/run/catena/nft/ready")

// remembered reports whether the table was there ever in this boot. Where it
// never was, no record need be read to know that nothing of it is lost.
func (t *table) remembered() bool {
	_, err := readyFolder.Read(t.madeKey())
	return err == nil
}

func (t *table) remember() error { return readyFolder.Replace(t.madeKey(), nil) }

func (t *table) madeKey() string { return fmt.Sprintf("%d-made", t.Family) }

// Ready looks whether this kernel can do what members need: it looks at the whole
// static part and forgets it again, which takes it some milliseconds, and so is done
// once in a boot: runtimes ask every few seconds.
func Ready() error { return ready(inet) }

// GuardReady is Ready for Guard.
func GuardReady() error { return ready(bridge) }

func ready(t *table) error {
	rehearsed := fmt.Sprintf("%d-%s", t.Family, layout.Name)
	if _, err := readyFolder.Read(rehearsed); err == nil {
		return nil
	}
	err := withConn(func(c conn) error { return c.Rehearse(append(t.static(), t.Add(layoutElement, ""))) })
	if err != nil {
		return fmt.Errorf("nftables table %s: %w", t.Name, wire.Missing(err))
	}
	_ = readyFolder.Replace(rehearsed, nil) // without it the next call looks again
	return nil
}
