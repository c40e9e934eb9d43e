package nft

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/firewall/nft/wire"
)

// tries bounds how often somebody else may come in between.
const tries = 100

// insertion sends members, and sends them again with what the kernel's answer
// says is missing or in the way.
type insertion struct {
	Members
	// contested says that a member was there already: those that are not exclusive
	// then come in its place, of the others it is looked whose they are.
	contested bool
	// beside are the comments of holders of exclusive members that keep them: of
	// the attachment, and of others of its container.
	beside map[string]bool
	// lists are sets that findRival has read.
	lists map[string][]wire.Found
}

func (i *insertion) run(c conn) error {
	i.beside = map[string]bool{i.Owner.Comment(): true}
	for range tries {
		generation, err := uint32(0), error(nil)
		if exclusive(i.Kind) { // then nothing may change between the look at others' and the batch
			if generation, err = c.Generation(); err != nil {
				return err
			}
		}
		batch, of, err := i.batch(c)
		if err != nil {
			return err
		}
		err = c.Commit(batch, generation)
		var refused wire.Refused
		switch {
		case err == nil:
			return nil
		case !errors.As(err, &refused):
			return err
		case errors.Is(err, unix.ERESTART):
		case errors.Is(err, unix.ENOENT):
			if err := c.makeTable(i.table, i.record()); err != nil {
				return err
			}
		case errors.Is(err, unix.EEXIST) && !i.contested:
			i.contested = true
		case refused.Index > 0 && refused.Index < len(of):
			return fmt.Errorf("%v: %w", i.Elements[of[refused.Index]], refused.Err)
		default:
			return fmt.Errorf("table %s: %w", i.table.Name, refused.Err)
		}
	}
	return fmt.Errorf("the ruleset changed %d times while members were to be added", tries)
}

// batch is messages and, for each but the first, the index of its element.
func (i *insertion) batch(c conn) (batch []wire.Message, of []int, err error) {
	t := i.table
	batch, of = []wire.Message{t.Add(layoutElement, "")}, []int{-1}
	i.lists = map[string][]wire.Found{}
	for n, e := range i.Elements {
		free := true
		if exclusive(i.Kind) && !e.Shared {
			if free, err = i.free(c, e); err != nil {
				return nil, nil, err
			}
		}
		switch {
		case !free:
		case e.Shared:
			batch = append(batch, t.Add(e.Element, ""))
		case i.contested && !exclusive(i.Kind):
			batch = append(t.retain(batch, e), t.Add(e.Element, ""), t.Delete(e.Element), t.Create(e.Element, i.Owner.Comment()))
		default:
			batch = append(t.retain(batch, e), t.Create(e.Element, i.Owner.Comment()))
		}
		for len(of) < len(batch) {
			of = append(of, n)
		}
	}
	return batch, of, nil
}

// makeTable makes what members need beside themselves. Where the whole table is
// gone, what others had there comes back first: who finds the layout looks no
// further.
func (c conn) makeTable(t *table, r record) error {
	if t.remembered() {
		if err := c.restoreTable(t); err != nil {
			return err
		}
	}
	there, err := c.hasLayout(t)
	if err == nil && !there {
		err = t.remember() // first: who is killed in between, or gets no answer, has made it
	}
	if err == nil && !there {
		err = c.Commit(t.static(), 0)
	}
	if err == nil {
		err = c.makeParts(t, r)
	}
	if err != nil {
		return fmt.Errorf("table %s: %w", t.Name, err)
	}
	return nil
}

// makeParts makes the profiles of records, and the sets of networks that their
// members are in.
func (c conn) makeParts(t *table, of ...record) error {
	seen := map[string]bool{}
	for _, r := range of {
		if p := r.Profile; p != nil && !seen[p.suffix()] {
			seen[p.suffix()] = true
			made, err := p.static(t)
			if err == nil {
				err = c.makeMissing(t.GetChain("ports"+p.suffix()), made)
			}
			if err != nil {
				return err
			}
		}
		for _, e := range r.Elements {
			if seen[e.Set] {
				continue
			}
			seen[e.Set] = true
			if p := t.networkSet(e.Set, r.Profile); p != nil {
				if err := c.makeMissing(t.GetSet(e.Set), p); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// makeMissing makes a part where a question says that it is not there. Asking is
// cheap: a batch that the kernel refuses costs a grace period of RCU.
func (c conn) makeMissing(question wire.Message, p part) error {
	if _, err := c.Ask(question); !errors.Is(err, unix.ENOENT) {
		return err
	}
	if err := c.Commit(p, 0); !errors.Is(err, unix.EEXIST) { // else somebody was faster
		return err
	}
	return nil
}

// free reports whether an exclusive member is nobody's. It may be there in one's
// own name: put back from the record, by somebody who found the table gone just
// now.
func (i *insertion) free(c conn, e Element) (bool, error) {
	taken := false
	if i.contested {
		f, err := c.Get(i.table.Table, e.Element)
		if err == nil && f.Is(e.Element) {
			taken, err = i.keeps(c, e, f.Comment)
		}
		if err != nil {
			return false, err
		}
	}
	return !taken, i.excludeRivals(c, e)
}

// keeps reports whether a holder keeps a member beside the attachment, as another
// attachment of the same container does: this one then waits for it. One whose pod
// is gone for good gives way. All others are the error.
func (i *insertion) keeps(c conn, e Element, holder string) (bool, error) {
	if i.beside[holder] {
		return true, nil
	}
	at, known := ownerOf(holder)
	if known {
		if gone, err := c.removeAbandoned(at, i.Kind); err != nil || gone {
			return false, err
		}
	}
	if known && at.ContainerID == i.Owner.ContainerID {
		i.beside[holder] = true
		return true, c.queue(i.Owner)
	}
	what := e.String()
	if m, ok := e.mapping(); ok {
		what = m.HostPortName()
	}
	err := cni.Taken("%s is held by %s", what, holder)
	return false, cni.Hint(err, "detach (DEL) "+holder+" first, or give one of the two another host port or hostIP")
}

// excludeRivals makes sure that no other container has a port at one address of
// the host that this one has at all of them, or the other way round. It is one
// question by name for each port.
func (i *insertion) excludeRivals(c conn, e Element) error {
	if _, isPort := e.mapping(); !isPort {
		return nil
	}
	for {
		at, holder, err := i.findRival(c, e)
		if err != nil || holder == "" {
			return err
		}
		if _, err := i.keeps(c, at, holder); err != nil { // else it gave way, and there may be another one
			return err
		}
		clear(i.lists)
	}
}

// findRival gives the first other container that has what excludes a port, and
// where.
func (i *insertion) findRival(c conn, e Element) (at Element, holder string, err error) {
	f, err := c.Get(i.table.Table, e.rival())
	if err != nil || f.Key == nil {
		return at, "", err
	}
	at, rivals := e, []wire.Found{f}
	if list := e.listOfRivals(); list != "" { // somebody has it at one address, or had
		if _, known := i.lists[list]; !known {
			if i.lists[list], err = c.Dump(i.table.Table, list); err != nil {
				return at, "", err
			}
		}
		rivals, at.Set = i.lists[list], list
	}
	for _, f := range rivals {
		if i.beside[f.Comment] || ofSameContainer(i.Owner, f.Comment) || !bytes.Equal(e.Key[:portKey], f.Key[:portKey]) {
			continue
		}
		if at.Set != e.Set {
			at.Key = f.Key
		}
		return at, f.Comment, nil
	}
	return at, "", nil
}
