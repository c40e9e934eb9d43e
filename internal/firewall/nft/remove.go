package nft

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/conntrack"
	"github.com/catena-cni/catena/internal/kernel"
)

// Del takes away the members that the record says, as far as they are still
// the attachment's. Where nftables cannot do it now, the record is laid aside
// for the next call of any plugin, and the DEL goes on.
func (m Members) Del(*kernel.Kernel) error {
	r, err := readRecord(m.key())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := r.withdraw(); err != nil {
		fmt.Fprintf(os.Stderr, "%v: %v; it is tried again at the next ADD, DEL or GC\n", m, err)
		return errors.Join(r.bury(m.key()), records.Remove(m.key()))
	}
	return records.Remove(m.key())
}

// withdraw removes every member that is not shared. Where the table is gone,
// what others have there is put back first.
func (r record) withdraw() error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.Close()
	c.heal()
	return c.withdraw(r)
}

// withdraw removes the members, and then what conntrack remembers of them: the
// flow of a client that goes on sending would lead to the pod for ever.
func (c conn) withdraw(r record) error {
	if r.Exclusive {
		if err := c.unqueue(r.Owner); err != nil {
			return err
		}
	}
	if err := c.remove(r); err != nil {
		return err
	}
	conntrack.ForgetGone(flows(r.Elements))
	return nil
}

// remove reads who owns each member and removes those that are the record's
// owner's, on condition that the ruleset did not change in between: a member
// that passes to another pod right then must stay. What another attachment of the
// container waits for becomes that one's.
func (c conn) remove(r record) error {
	t, err := r.in()
	if err != nil {
		return err
	}
	var next []*record
	if r.Exclusive {
		if c.turn.fd == 0 {
			defer c.turn.leave()
		}
		if err := c.turn.take(false); err != nil {
			return err
		}
		if next, err = heirs(r.Owner); err != nil {
			return err
		}
	}
	for range tries {
		generation, err := c.generation()
		if err != nil {
			return err
		}
		batch, err := c.removal(t, r, next)
		if err != nil || len(batch) == 0 {
			return err
		}
		err = c.commit(batch, generation)
		if !errors.Is(err, unix.ERESTART) && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return fmt.Errorf("the ruleset changed %d times while %s's members were to be removed", tries, r.Owner)
}

// removal gives the messages that remove the record's members, and with them
// what they are the last to hold.
func (c conn) removal(t *table, r record, next []*record) (batch []message, err error) {
	own := make([]Element, 0, len(r.Elements))
	for _, e := range r.Elements {
		if !e.Shared {
			own = append(own, e)
		}
	}
	have, err := c.getEach(t, own)
	if err != nil {
		return nil, err
	}
	for i, e := range own {
		if !have[i].is(e) || have[i].comment != r.Owner.Comment() {
			continue
		}
		held, err := c.release(t, e)
		if err != nil {
			return nil, err
		}
		batch = append(batch, t.elementMessage(unix.NFT_MSG_DELSETELEM, 0, e.Set, Element{Key: e.Key, End: e.End}.encode("")))
		batch = append(append(batch, held...), t.inherit(e, next)...)
	}
	return batch, nil
}
