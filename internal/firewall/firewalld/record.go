package firewalld

import (
	"errors"
	"net/netip"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// What is bound is recorded in files that die with the boot:
//
//	/run/catena/firewalld/<key>                 owner, netns, zone, sources
//	/run/catena/firewalld/refs/<source>/<key>   empty: a reference to a source
//
// <key> is a hash of the attachment, <source> one of the zone and the address.
var records = state.Records[record]{Folder: "/run/catena/firewalld"}

type record struct {
	Owner name.Attachment `json:"owner"`
	kernel.NetnsRef
	Zone    string   `json:"zone"`
	Sources []string `json:"sources"`
}

// Of is the attachment.
func (r record) Of() name.Attachment { return r.Owner }

func (s Source) record(k *kernel.Kernel) record {
	r := record{Owner: s.Owner, NetnsRef: k.NetnsRef(), Zone: s.Zone}
	for _, a := range s.Pods {
		r.Sources = append(r.Sources, source(a))
	}
	return r
}

// source is an address as firewalld has it.
func source(a netip.Addr) string { return netip.PrefixFrom(a, a.BitLen()).String() }

// claim writes the record. Where the attachment has one already it is an error,
// unless that is of a namespace that is gone.
func (r record) claim(k *kernel.Kernel, d daemon) error {
	return records.ClaimOver(r, func(before record) error {
		if k.Attached(before.NetnsRef, r.Owner.IfName) {
			return cni.Attached("%s has its addresses in firewalld already", r.Owner)
		}
		return before.unbind(d)
	})
}

// refs has a file for each attachment that a source is bound for: a reference
// count.
func (r record) refs(source string) state.Folder {
	return records.Folder + state.Folder("/refs/"+name.Digits(r.Zone+" "+source))
}

// bind binds the sources.
func (r record) bind(d daemon) error {
	for _, source := range r.Sources {
		if err := r.refs(source).Replace(r.Owner.Key(), nil); err != nil {
			return err
		}
		if err := d.bind(r.Zone, source); err != nil {
			return err
		}
	}
	return nil
}

// unbind ends the bindings that nobody else refers to. Somebody may come to do so
// between the look and the removal: so it is looked again behind it.
func (r record) unbind(d daemon) error {
	err := fact.ForEach(r.Sources, func(source string) error {
		refs := r.refs(source)
		err := refs.Remove(r.Owner.Key())
		others, oerr := refs.Keys()
		if err = errors.Join(err, oerr); err == nil && len(others) == 0 {
			err = d.unbind(r.Zone, source)
			if others, _ := refs.Keys(); len(others) > 0 {
				err = errors.Join(err, d.bind(r.Zone, source))
			}
		}
		return err
	})
	if err != nil {
		return err // the record stays: the next DEL tries again
	}
	return r.remove()
}

// remove removes what is recorded.
func (r record) remove() error {
	err := fact.ForEach(r.Sources, func(source string) error { return r.refs(source).Remove(r.Owner.Key()) })
	return errors.Join(err, records.Remove(r.Owner))
}

// Abandoned lists the attachments that have a record and whose pods are provably
// gone, for GC.
func Abandoned() ([]name.Attachment, error) { return records.Abandoned() }

// Attachments lists the attachments that have a record, for GC.
func Attachments() ([]name.Attachment, error) { return records.Owners() }
