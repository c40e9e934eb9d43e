package nft

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/state/name"
)

// tries bounds how often somebody else may come in between.
const tries = 100

// insertion sends members, and sends them again with what the kernel's answer
// says is missing or in the way. Each answer has one remedy; only what others do
// meanwhile can come again.
type insertion struct {
	Members
	// present are exclusive members that are there already, in one's own name or
	// in that of another attachment of the container.
	present map[int]bool
	replace bool                    // in place of a former owner's
	evicted name.Attachment         // the holder whose pod is gone that was removed last
	lists   map[string][]wire.Found // sets that findRival has read
}

func (i *insertion) run(c conn) error {
	for range tries {
		batch, of := i.batch()
		err := c.Commit(batch, 0)
		if err == nil {
			return i.excludeRivals(c)
		}
		var refused wire.Refused
		if !errors.As(err, &refused) {
			return err
		}
		var about *Element
		if refused.Index > 0 && refused.Index < len(of) {
			about = &i.Elements[of[refused.Index]]
		}
		switch {
		case errors.Is(refused, unix.ENOENT):
			err = c.makeTable(i.table, i.record())
		case errors.Is(refused, unix.EEXIST) && about != nil && i.Exclusive:
			err = i.resolve(c, *about)
		case errors.Is(refused, unix.EEXIST) && about != nil && !i.replace:
			i.replace, err = true, nil
		case about != nil:
			return fmt.Errorf("%v: %w", *about, refused.Err)
		default:
			return fmt.Errorf("table %s: %w", i.table.Name, refused.Err)
		}
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("the ruleset changed %d times while members were to be added", tries)
}

// batch is messages and, for each but the first, the index of its element.
func (i *insertion) batch() (batch []wire.Message, of []int) {
	t := i.table
	batch, of = []wire.Message{t.Add(layoutElement, "")}, []int{-1}
	for n, e := range i.Elements {
		switch {
		case i.present[n]:
		case e.Shared:
			batch = append(batch, t.Add(e.Element, ""))
		case i.replace:
			batch = append(t.retain(batch, e), t.Add(e.Element, ""), t.Delete(e.Element), t.Create(e.Element, i.Owner.Comment()))
		default:
			batch = append(t.retain(batch, e), t.Create(e.Element, i.Owner.Comment()))
		}
		for len(of) < len(batch) {
			of = append(of, n)
		}
	}
	return batch, of
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

// resolve finds out what is in the way of an exclusive member. It may be there in
// one's own name: put back from the record, by somebody who found the table gone
// just now. It may be another attachment's of the same container, which this one
// then waits for. Who is gone again need not be asked.
func (i *insertion) resolve(c conn, e Element) error {
	f, err := c.Get(i.table.Table, e.Element)
	switch {
	case err != nil || !f.Is(e.Element):
		return err
	case f.Comment == i.Owner.Comment():
	case ofSameContainer(i.Owner, f.Comment):
		if err := c.queue(i.Owner); err != nil {
			return err
		}
	default:
		what := e.String()
		if m, ok := e.mapping(); ok {
			what = m.HostPortName()
		}
		return i.evict(c, what, f.Comment)
	}
	return i.findPresent(c)
}

// findPresent finds all members that are there, in one's own name or in that of
// another attachment of the container, which passes them on when it goes. One
// whose pod is gone for good gives way.
func (i *insertion) findPresent(c conn) error {
	have, err := c.getEach(i.table, i.Elements)
	if err != nil {
		return err
	}
	stays := map[string]bool{i.Owner.Comment(): true}
	i.present = map[int]bool{}
	for n, e := range i.Elements {
		if e.Shared || !have[n].Is(e.Element) {
			continue
		}
		comment := have[n].Comment
		if _, known := stays[comment]; !known {
			at, read := ownerOf(comment)
			stays[comment] = read && at.ContainerID == i.Owner.ContainerID
			if stays[comment] {
				if gone, err := c.removeAbandoned(at, i.Kind); err != nil || gone {
					return err
				}
			}
		}
		i.present[n] = stays[comment]
	}
	return nil
}

// excludeRivals makes sure that no other container has a port at one address of
// the host that this one has at all of them, or the other way round. As this
// looks after the members are there, of two pods that come at the same time one
// at least sees the other. It is one question by name for each port.
func (i *insertion) excludeRivals(c conn) error {
	i.lists = map[string][]wire.Found{}
	for n := 0; n < len(i.Elements); {
		what, by, err := i.findRival(c, i.Elements[n])
		switch {
		case err != nil:
			return err
		case by == "":
			n++
		default: // where it gave way, there may be another one
			if err := i.evict(c, what, by); err != nil {
				return err
			}
			clear(i.lists)
		}
	}
	return nil
}

// findRival gives the first other container that has what excludes a port.
func (i *insertion) findRival(c conn, e Element) (what, by string, err error) {
	if _, isPort := e.mapping(); !isPort {
		return "", "", nil
	}
	f, err := c.Get(i.table.Table, e.rival())
	if err != nil || f.Key == nil {
		return "", "", err
	}
	rivals, at := []wire.Found{f}, e
	if list := e.listOfRivals(); list != "" { // somebody has it at one address, or had
		if _, known := i.lists[list]; !known {
			if i.lists[list], err = c.Dump(i.table.Table, list); err != nil {
				return "", "", err
			}
		}
		rivals, at.Set = i.lists[list], list
	}
	for _, f := range rivals {
		if f.Comment == i.Owner.Comment() || ofSameContainer(i.Owner, f.Comment) || !bytes.Equal(e.Key[:portKey], f.Key[:portKey]) {
			continue
		}
		if at.Set != e.Set {
			at.Key = f.Key
		}
		m, _ := at.mapping()
		return m.HostPortName(), f.Comment, nil
	}
	return "", "", nil
}

// evict removes a holder whose network namespace is gone, and else tells who has
// it.
func (i *insertion) evict(c conn, what, by string) error {
	if at, known := ownerOf(by); known && at != i.Owner && at != i.evicted {
		i.evicted = at
		if gone, err := c.removeAbandoned(at, i.Kind); err != nil || gone {
			return err
		}
	}
	err := cni.Taken("%s is held by %s", what, by)
	return cni.Hint(err, "detach (DEL) "+by+" first, or give one of the two another host port or hostIP")
}
