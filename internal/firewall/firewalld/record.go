package firewalld

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// What is bound is recorded in files that die with the boot:
//
//	/run/catena/firewalld/<key>                 a JSON object: owner, netns, zone, sources
//	/run/catena/firewalld/held/<source>/<key>   empty: who has bound a source
//
// <key> is a hash of the attachment, <source> one of the zone and the address.
const (
	records = state.Folder("/run/catena/firewalld")
	held    = "/run/catena/firewalld/held/"
)

type record struct {
	Owner name.Attachment `json:"owner"`
	kernel.NetnsRef
	Zone    string   `json:"zone"`
	Sources []string `json:"sources"`
}

// source is an address as firewalld has it.
func source(a netip.Addr) string { return netip.PrefixFrom(a, a.BitLen()).String() }

func (s Source) record(k *kernel.Kernel) record {
	r := record{Owner: s.Owner, NetnsRef: k.NetnsRef(), Zone: s.Zone}
	for _, a := range s.Pods {
		r.Sources = append(r.Sources, source(a))
	}
	return r
}

func read(owner name.Attachment) (record, error) { return readKey(owner.Key()) }

func readKey(key string) (r record, err error) {
	b, err := records.Read(key)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	return r, err
}

// claim writes the record. Where the attachment has one already it is an error,
// unless that is of a namespace that is gone.
func (r record) claim(d daemon) error {
	content, err := json.Marshal(r)
	if err != nil {
		return err
	}
	err = records.Claim(r.Owner.Key(), content)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	before, err := read(r.Owner)
	if err == nil && before.NetnsID == r.NetnsID && !before.Abandoned() {
		err := cni.Taken("%s has its addresses in firewalld already", r.Owner)
		return cni.Hint(err, "a container is detached (DEL) before it is attached again")
	}
	if err == nil {
		err = before.withdraw(d)
		if err != nil {
			return err
		}
	}
	return records.Replace(r.Owner.Key(), content)
}

func (r record) holders(source string) state.Folder {
	h := name.Hash(r.Zone + " " + source)
	return state.Folder(held + hex.EncodeToString(h[:]))
}

func (r record) hold(source string) error { return r.holders(source).Replace(r.Owner.Key(), nil) }

// withdraw ends the bindings that nobody else has. Somebody may come to have one
// between the look and the removal: so it is looked again behind it.
func (r record) withdraw(d daemon) error {
	var errs []error
	for _, source := range r.Sources {
		holders := r.holders(source)
		err := holders.Remove(r.Owner.Key())
		others, oerr := holders.Keys()
		if err = errors.Join(err, oerr); err == nil && len(others) == 0 {
			err = d.unbind(r.Zone, source)
			if others, _ := holders.Keys(); len(others) > 0 {
				err = errors.Join(err, d.bind(r.Zone, source))
			}
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err // the record stays: the next DEL tries again
	}
	return r.forget()
}

// forget removes what is recorded.
func (r record) forget() error {
	var errs []error
	for _, source := range r.Sources {
		errs = append(errs, r.holders(source).Remove(r.Owner.Key()))
	}
	return errors.Join(append(errs, records.Remove(r.Owner.Key()))...)
}

// all lists the records. One that cannot be read speaks for nobody.
func all() (list []record, err error) {
	keys, err := records.Keys()
	for _, key := range keys {
		if r, err := readKey(key); err == nil {
			list = append(list, r)
		}
	}
	return list, err
}

// alive are the records of a zone whose pods are there.
func alive(zone string) (live []record, err error) {
	list, err := all()
	for _, r := range list {
		if r.Zone == zone && !r.Abandoned() {
			live = append(live, r)
		}
	}
	return live, err
}

// Abandoned lists the attachments that have a record and whose pods are provably
// gone, for GC.
func Abandoned() (out []name.Attachment, err error) {
	list, err := all()
	for _, r := range list {
		if r.NetnsRef.Abandoned() {
			out = append(out, r.Owner)
		}
	}
	return out, err
}

// Attachments lists the attachments that have a record, for GC.
func Attachments() (out []name.Attachment, err error) {
	list, err := all()
	for _, r := range list {
		out = append(out, r.Owner)
	}
	return out, err
}
