package nft

import (
	"bytes"
	compare "cmp" // cmp is an expression here
	"errors"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/lists"
)

// heal puts back what somebody else's reload has wiped: "nft flush ruleset" and
// a restart of nftables.service take our tables too, and a firewall that loads
// its own rules again takes the ones that Forward has put among them. Every verb
// of every plugin that has something here heals for all attachments that are
// alive; while all is well, that is asking for a few things by name. What cannot
// be put back is not the error of who happened to come by.
func (c conn) heal() {
	again := false
	for _, t := range tables {
		there, err := c.laid(t)
		if err == nil && !there && t.made() {
			again = true
			err = c.restore(t)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "put back nftables table %s: %v\n", t.name, err)
		}
	}
	keep := c.keepOpen
	if again { // the others have loaded their rules again too
		keep = c.reopen
	}
	if err := keep(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// laid reports whether the table is there with the static part of this version.
func (c conn) laid(t *table) (bool, error) {
	_, there, err := c.get(t, Element{Set: layout.name, Key: native(1)})
	return there, err
}

// restore makes the table again with what all records say of pods that are
// alive, in one batch. Of two who do so the second finds that the ruleset has
// changed.
func (c conn) restore(t *table) error {
	skip := map[string]bool{}
	for range tries {
		generation, err := c.generation()
		if err != nil {
			return err
		}
		if there, err := c.laid(t); err != nil || there {
			return err
		}
		live, err := liveRecords(t.family)
		if err != nil || len(live) == 0 {
			return err
		}
		again := t.again(live, skip)
		err = c.commit(again.messages, generation)
		var refused batchError
		switch {
		case err == nil:
			fmt.Fprintf(os.Stderr, "nftables table %s was gone, or another version's: it is back, with what %d records of attachments say\n", t.name, len(live))
			return nil
		case errors.Is(err, unix.ERESTART):
		case errors.As(err, &refused) && again.about(refused) != "":
			skip[again.about(refused)] = true // two want the same: who was first has it
		default:
			return err
		}
	}
	return fmt.Errorf("the ruleset changed %d times", tries)
}

// liveRecords are the records of a table whose pods are there, in the order in
// which they are to come back: where members are exclusive the first one's
// stand, else the last one's.
func liveRecords(family uint8) (live []*record, err error) {
	keys, err := records.Keys()
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if r, err := readRecord(key); err == nil && r.Family == family && !r.Abandoned() && len(r.Elements) > 0 {
			live = append(live, &r)
		}
	}
	lists.Sort(live, func(a, b *record) int {
		if a.Exclusive && b.Exclusive {
			return compare.Compare(a.Since, b.Since)
		}
		return compare.Compare(b.rank(), a.rank())
	})
	return live, nil
}

// rank puts exclusive members before all others, and the others by age.
func (r *record) rank() int64 {
	if r.Exclusive {
		return math.MaxInt64
	}
	return r.Since
}

// restoring is a batch in the making. With each message comes the name of what
// can be left out where the kernel refuses it, if any.
type restoring struct {
	messages []message
	names    []string
	skip     map[string]bool
}

func (r *restoring) add(name string, more ...message) {
	if r.skip[name] {
		return
	}
	r.messages = append(r.messages, more...)
	for range more {
		r.names = append(r.names, name)
	}
}

// about is the name of what was refused.
func (r *restoring) about(refused batchError) string {
	if refused.index < 0 || refused.index >= len(r.names) {
		return ""
	}
	return r.names[refused.index]
}

// again is the table with the members of the records, but for some.
func (t *table) again(live []*record, skip map[string]bool) restoring {
	batch := restoring{skip: skip}
	batch.add("", append(t.static(), t.touch())...)
	var shared []*Element
	profiled := map[string]bool{}
	for _, r := range live {
		if p := r.Profile; p != nil && !profiled[p.Suffix] {
			profiled[p.Suffix] = true
			for _, k := range r.Static {
				batch.add("profile "+p.Suffix, k.message())
			}
		}
	}
	made := map[string]bool{}
	held := map[string]string{} // by which container: its first attachment has what others wait for
	for _, r := range live {
		for _, e := range r.Elements {
			if !made[e.Set] {
				made[e.Set] = true
				batch.add("set "+e.Set, t.partOf(e.Set, r.Profile, partIDs+uint32(len(made)))...)
			}
			if e.Shared {
				shared = append(shared, &e)
				continue
			}
			if r.Exclusive {
				place := e.Set + "\x00" + string(e.Key) + "\x00" + string(e.End)
				if by, found := held[place]; found && by == r.Owner.ContainerID {
					continue
				}
				held[place] = r.Owner.ContainerID
			}
			batch.add(r.Owner.String()+" "+e.String(), append(t.hold(e), t.member(&e, r.Owner.Comment()))...)
		}
	}
	for _, e := range widest(shared) {
		batch.add(e.String(), t.member(e, ""))
	}
	return batch
}

// widest leaves out the elements that others hold inside: subnets overlap whole.
func widest(elements []*Element) (out []*Element) {
	lists.Sort(elements, func(a, b *Element) int {
		return compare.Or(compare.Compare(a.Set, b.Set), bytes.Compare(a.Key, b.Key), bytes.Compare(b.End, a.End))
	})
	for _, e := range elements {
		if n := len(out) - 1; n >= 0 && out[n].Set == e.Set && bytes.Compare(e.Key, out[n].Key) >= 0 &&
			(bytes.Equal(e.Key, out[n].Key) || bytes.Compare(e.End, out[n].End) <= 0 && e.End != nil) {
			continue
		}
		out = append(out, e)
	}
	return out
}
