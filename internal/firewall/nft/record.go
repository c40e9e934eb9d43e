package nft

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/netlink"
	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// What attachments have in the tables is recorded in files that die, like the
// tables, with the boot:
//
//	/run/catena/nft/<key>.<kind>        a JSON object: owner, netns, elements
//	/run/catena/nft/dead/<key>.<kind>   what DEL could not remove; the next
//	                                    call of any plugin tries again
//
// <key> is a hash of the attachment. The elements carry their text, so a record
// can be read by people.
const (
	records = state.Folder("/run/catena/nft")
	dead    = state.Folder("/run/catena/nft/dead")
)

// record is the content of such a file.
type record struct {
	Owner name.Attachment `json:"owner"`
	kernel.NetnsRef
	Family  uint8    `json:"family"`
	Profile *Profile `json:"profile,omitempty"`
	// Static are the messages that make the profile: who puts it back need not
	// understand the conditions.
	Static   []kept    `json:"static,omitempty"`
	Elements []Element `json:"elements"`
	// Exclusive is as of Members.
	Exclusive bool `json:"exclusive,omitempty"`
	// Since is when the record was made, in nanoseconds since 1970.
	Since int64 `json:"since"`
}

// record is what there is to say of the members, but for their pod.
func (m Members) record() record {
	r := record{Owner: m.Owner, Family: m.table.family, Profile: m.profile, Elements: m.Elements, Exclusive: m.Exclusive}
	if m.profile != nil {
		for _, part := range m.profile.parts {
			r.Static = append(r.Static, kept{part.kind, part.flags, part.family, netlink.Join(part.body...)})
		}
	}
	return r
}

// kept is a message in a file.
type kept struct {
	Kind   uint16 `json:"kind"`
	Flags  uint16 `json:"flags"`
	Family uint8  `json:"family"`
	Body   []byte `json:"body"`
}

func (k kept) message() message { return message{k.Kind, k.Flags, k.Family, []attr{k.Body}} }

func readRecord(key string) (record, error) { return readFrom(records, key) }

func readFrom(folder state.Folder, key string) (record, error) {
	var r record
	b, err := folder.Read(key)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%s/%s: %w", folder, key, err)
	}
	return r, nil
}

// in finds the table that the record's members are in.
func (r record) in() (*table, error) {
	for _, t := range tables {
		if t.family == r.Family {
			return t, nil
		}
	}
	return nil, fmt.Errorf("the record of %s speaks of an unknown table (family %d)", r.Owner, r.Family)
}

// claim writes the record of new members. Where the attachment has one already,
// it is an error, unless that is of a pod that is gone: a container that starts
// again after a crash, for which nobody said DEL.
func (m Members) claim(c conn, k *kernel.Kernel) error {
	now := m.record()
	now.NetnsRef, now.Since = k.NetnsRef(), time.Now().UnixNano()
	content, err := json.Marshal(now)
	if err != nil {
		return err
	}
	err = records.Claim(m.key(), content)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	before, err := readRecord(m.key())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		// A record that cannot be read speaks for nobody.
		return records.Replace(m.key(), content)
	}
	if err == nil && before.NetnsID == now.NetnsID && !before.Abandoned() {
		err := cni.Taken("%s has its %s already", m.Owner, m.Kind)
		return cni.Hint(err, "a container is detached (DEL) before it is attached again")
	}
	if err := c.withdraw(before); err != nil {
		return err
	}
	return records.Replace(m.key(), content)
}

// bury lays a record aside whose members could not be removed.
func (r record) bury(key string) error {
	content, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return dead.Replace(key, content)
}

// sweep tries again what former DELs could not do. It is nobody's error when
// it cannot either.
func (c conn) sweep() {
	keys, err := dead.Keys()
	if err != nil {
		return
	}
	for _, key := range keys {
		if r, err := readFrom(dead, key); err == nil && c.withdraw(r) != nil {
			continue
		}
		_ = dead.Remove(key)
	}
}

// sweepDead removes the members of one attachment if its pod is provably gone,
// and says whether it did.
func (c conn) sweepDead(at name.Attachment, kind string) (bool, error) {
	key := Members{Owner: at, Kind: kind}.key()
	r, err := readRecord(key)
	if err != nil || r.Owner != at || !r.Abandoned() {
		return false, nil
	}
	if err := c.withdraw(r); err != nil {
		return false, err
	}
	return true, records.Remove(key)
}

// Attachments lists the attachments that have members of one of the kinds, by
// record. It reads every record, so it is for GC alone.
func Attachments(kinds ...string) ([]name.Attachment, error) {
	keys, err := records.Keys()
	if err != nil {
		return nil, err
	}
	var out []name.Attachment
	for _, key := range keys {
		_, kind, _ := strings.Cut(key, ".")
		if !slices.Contains(kinds, kind) {
			continue
		}
		if r, err := readRecord(key); err == nil {
			out = append(out, r.Owner)
		}
	}
	return out, nil
}

// Abandoned lists the attachments that have members and whose pods are provably
// gone, for GC.
func Abandoned() ([]name.Attachment, error) {
	keys, err := records.Keys()
	if err != nil {
		return nil, err
	}
	var out []name.Attachment
	for _, key := range keys {
		if r, err := readRecord(key); err == nil && r.Abandoned() {
			out = append(out, r.Owner)
		}
	}
	return out, nil
}

// Collect is GC for members that no record speaks of: it lists every set and
// removes what carries the name of an attachment of the network that is not
// valid.
func Collect(network string, valid func(comment string) bool) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.Close()
	c.sweep()
	c.heal()
	var errs []error
	for _, t := range tables {
		sets, err := c.sets(t)
		errs = append(errs, err)
		for _, s := range sets {
			errs = append(errs, c.collect(t, s, network, valid))
		}
	}
	return errors.Join(errs...)
}

// sets lists the sets that a table has, those of profiles among them.
func (c conn) sets(t *table) (names []string, err error) {
	answers, err := c.ask(message{unix.NFT_MSG_GETSET, unix.NLM_F_DUMP, t.family, []attr{stringAttr(unix.NFTA_SET_TABLE, t.name)}})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the sets of nftables table %s: %w", t.name, err)
	}
	for _, a := range answers {
		set := netlink.Text(netlink.Find(a, unix.NFTA_SET_NAME))
		if _, err := t.setNamed(set); err == nil {
			names = append(names, set)
		}
	}
	return names, nil
}

func (c conn) collect(t *table, set, network string, valid func(string) bool) error {
	have, err := c.dump(t, set)
	if err != nil {
		return err
	}
	byOwner := map[name.Attachment][]Element{}
	for _, f := range have {
		at, err := name.Parse(f.comment)
		if err == nil && at.Network == network && !valid(f.comment) {
			byOwner[at] = append(byOwner[at], Element{Set: set, Key: f.key, End: f.end, Data: f.data})
		}
	}
	var errs []error
	for at, elements := range byOwner {
		errs = append(errs, c.withdraw(record{Owner: at, Family: t.family, Elements: elements, Exclusive: t == inet}))
	}
	return errors.Join(errs...)
}
