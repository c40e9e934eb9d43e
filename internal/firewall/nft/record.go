package nft

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/firewall/conntrack"
	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// What attachments have in the tables is recorded in files that die, like the
// tables, with the boot:
//
//	/run/catena/nft/<key>.<kind>           a JSON object: owner, netns, elements
//	/run/catena/nft/pending/<key>.<kind>   what DEL could not remove; the next
//	                                       call of any plugin tries again
//
// <key> is a hash of the attachment. The elements carry their text, so a record
// can be read by people.
const (
	recordFolder  = state.Folder("/run/catena/nft")
	pendingFolder = state.Folder("/run/catena/nft/pending")
)

// records are those of members of one kind.
func records(kind string) state.Records[record] {
	return state.Records[record]{Folder: recordFolder, Suffix: "." + kind}
}

// pending are those whose removal is pending.
func pending(kind string) state.Records[record] {
	return state.Records[record]{Folder: pendingFolder, Suffix: "." + kind}
}

// record is the content of such a file.
type record struct {
	Owner name.Attachment `json:"owner"`
	kernel.NetnsRef
	Kind     string    `json:"kind"`
	Family   uint8     `json:"family"`
	Profile  *Profile  `json:"profile,omitempty"`
	Elements []Element `json:"elements"`
	// Since is when the record was made, in nanoseconds since 1970.
	Since int64 `json:"since"`
}

// Of is whose it is.
func (r record) Of() name.Attachment { return r.Owner }

// record is what there is to say of the members, but for their pod.
func (m Members) record() record {
	return record{Owner: m.Owner, Kind: m.Kind, Family: m.table.Family, Profile: m.profile, Elements: m.Elements}
}

// in finds the table that the record's members are in.
func (r record) in() (*table, error) {
	for _, t := range tables {
		if t.Family == r.Family {
			return t, nil
		}
	}
	return nil, fmt.Errorf("the record of %s speaks of an unknown table (family %d)", r.Owner, r.Family)
}

// claim writes the record of new members. Where the attachment has one already,
// it is an error, unless that is of an ADD that did not come to its end, or of a
// pod that is gone: a container that starts again after a crash, for which nobody
// said DEL. A damaged record speaks for nobody.
func (m Members) claim(c conn, k *kernel.Kernel) error {
	owed, found, err := pending(m.Kind).Find(m.Owner)
	if found {
		err = c.settle(owed) // later it would take the new members away
	}
	if err != nil {
		return err
	}
	r := m.record()
	r.NetnsRef, r.Since = k.NetnsRef(), time.Now().UnixNano()
	return records(m.Kind).ClaimOver(r, func(before record) error {
		if k.Attached(before.NetnsRef, m.Owner.IfName) {
			return cni.Attached("%s has its %s already", m.Owner, m.Kind)
		}
		return c.withdraw(before)
	})
}

// discard removes the members and the record.
func (r record) discard(k *kernel.Kernel) error {
	withdraw := func(c conn) error { return c.withdraw(r) }
	err := overCall(k, withdraw)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = withConn(withdraw) // an answer may be lost; over a new socket the next one is not
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "nft %s of %s: %v; it is tried again at the next ADD, DEL or GC\n", r.Kind, r.Owner, err)
		err = pending(r.Kind).Replace(r)
	}
	if err != nil {
		return err // the record stays: nothing else says what is to be removed
	}
	return records(r.Kind).Remove(r.Owner)
}

// settle removes members whose removal is pending.
func (c conn) settle(r record) error {
	if err := c.withdraw(r); err != nil {
		return err
	}
	return pending(r.Kind).Remove(r.Owner)
}

// retryPending tries again what former DELs could not do. It is nobody's error
// when it cannot either.
func (c conn) retryPending() {
	if keys, err := pendingFolder.Keys(); err != nil || len(keys) == 0 {
		return
	}
	for _, kind := range kinds {
		all, _, _ := pending(kind).All()
		for _, r := range all {
			_ = c.settle(r)
		}
	}
}

// removeAbandoned removes the members of one attachment if its pod is provably
// gone, and says whether it did.
func (c conn) removeAbandoned(at name.Attachment, kind string) (bool, error) {
	r, err := records(kind).Read(at)
	if err != nil || !r.Abandoned() {
		return false, nil
	}
	if err := c.withdraw(r); err != nil {
		return false, err
	}
	return true, records(kind).Remove(at)
}

// withdraw removes every member that is not shared, and then what conntrack
// remembers of them: the flow of a client that goes on sending would lead to the
// pod for ever.
func (c conn) withdraw(r record) error {
	if exclusive(r.Kind) {
		if err := c.unqueue(r.Owner); err != nil {
			return err
		}
	}
	if err := c.remove(r); err != nil {
		return err
	}
	var ports []Mapping
	for _, e := range r.Elements {
		if m, ok := e.mapping(); ok {
			ports = append(ports, m)
		}
	}
	conntrack.ForgetGone(Flows(ports))
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
	return c.Change(func() (batch []wire.Message, err error) {
		waiting, err := waitingBeside(r.Owner)
		if err != nil {
			return nil, err
		}
		have, err := c.getEach(t, r.Elements)
		for i, f := range have {
			e := r.Elements[i]
			if e.Shared || !f.Is(e.Element) || f.Comment != r.Owner.Comment() {
				continue
			}
			released, err := c.release(t, e)
			if err != nil {
				return nil, err
			}
			batch = append(append(batch, t.Delete(e.Element)), released...)
			batch = append(batch, t.passOn(e, waiting)...)
		}
		return batch, err
	})
}

// Attachments lists the attachments that have members of one of the kinds, by
// record. It reads every record, so it is for GC alone.
func Attachments(kinds ...string) (out []name.Attachment, err error) {
	for _, kind := range kinds {
		owners, oerr := records(kind).Owners()
		out, err = append(out, owners...), errors.Join(err, oerr)
	}
	return out, err
}

// Abandoned lists the attachments that have members and whose pods are provably
// gone, for GC.
func Abandoned() (out []name.Attachment, err error) {
	for _, kind := range kinds {
		owners, oerr := records(kind).Abandoned()
		out, err = append(out, owners...), errors.Join(err, oerr)
	}
	return out, err
}

// Collect is GC for members that no record speaks of: it lists every set and
// removes what carries the name of an attachment of the network that is not
// valid.
func Collect(network string, valid func(comment string) bool) error {
	return withConn(func(c conn) error {
		c.restore()
		return fact.ForEach(tables, func(t *table) error { return c.collect(t, network, valid) })
	})
}

func (c conn) collect(t *table, network string, valid func(string) bool) error {
	sets, err := c.Sets(t.Table)
	errs, byOwner := []error{err}, map[name.Attachment][]Element{}
	for _, set := range slices.DeleteFunc(sets, func(s string) bool { return !t.has(s) }) {
		have, err := c.Dump(t.Table, set)
		errs = append(errs, err)
		for _, f := range have {
			at, err := name.Parse(f.Comment)
			if err == nil && at.Network == network && !valid(f.Comment) {
				byOwner[at] = append(byOwner[at], Element{Element: wire.Element{Set: set, Key: f.Key, Data: f.Data}})
			}
		}
	}
	for at, elements := range byOwner {
		errs = append(errs, c.withdraw(record{Owner: at, Kind: KindPorts, Family: t.Family, Elements: elements}))
	}
	return errors.Join(errs...)
}
