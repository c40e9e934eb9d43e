package iptables

import (
	"errors"
	"io/fs"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/firewall/nft"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// What an attachment has in iptables is recorded in files that die, like the
// rules, with the boot: upstream's chains have no room for the interface, and its
// accepting rules for any owner at all.
//
//	/run/catena/iptables/<key>.<kind>   owner, netns and what of it is below
//
// <key> is a hash of the attachment.
const folder = state.Folder("/run/catena/iptables")

type record struct {
	Owner name.Attachment `json:"owner"`
	kernel.NetnsRef
	// Chain is the attachment's own.
	Chain string `json:"chain,omitempty"`
	// Addrs are the pod's.
	Addrs []netip.Addr `json:"addrs,omitempty"`
	// Ports are those that lead to the pod, under the conditions.
	Ports      []nft.Mapping `json:"ports,omitempty"`
	Conditions string        `json:"conditions,omitempty"`
	// Bridge is the one that is isolated. Its rules stay where they are older than
	// the first attachment that has asked for them.
	Bridge      string `json:"bridge,omitempty"`
	Preexisting bool   `json:"preexisting,omitempty"`
}

// Of is the attachment.
func (r record) Of() name.Attachment { return r.Owner }

// Kinds of records, one for each fact.
const (
	KindMasquerade = "masquerade"
	KindPorts      = "ports"
	KindForward    = "forward"
	KindIsolation  = "isolation"
)

func records(kind string) state.Records[record] {
	return state.Records[record]{Folder: folder, Suffix: "." + kind}
}

// Attachments lists those with a record of one of the kinds.
func Attachments(kinds ...string) ([]name.Attachment, error) {
	return attachments(kinds, state.Records[record].Owners)
}

// Abandoned lists the attachments with records whose pods are provably gone.
func Abandoned() ([]name.Attachment, error) {
	return attachments([]string{KindMasquerade, KindPorts, KindForward, KindIsolation}, state.Records[record].Abandoned)
}

func attachments(kinds []string, of func(state.Records[record]) ([]name.Attachment, error)) (all []name.Attachment, err error) {
	for _, kind := range kinds {
		some, serr := of(records(kind))
		all, err = append(all, some...), errors.Join(err, serr)
	}
	return all, err
}

// others are the records of a kind that other attachments have.
func others(kind string, owner name.Attachment) (out []record, err error) {
	all, _, err := records(kind).All()
	return slices.DeleteFunc(all, func(r record) bool { return r.Owner == owner }), err
}

// attach is the Add of every fact: it records what is wanted, and inserts the
// rules. It removes what is left of them when it fails, and before it begins: a
// pod may be gone that was never detached, or an ADD was that did not come to its
// end.
func attach(k *kernel.Kernel, kind string, owner name.Attachment, want func(others []record) (record, error), rules func(six bool) ruleset, remove func() error) error {
	return locked(func() error {
		before, err := records(kind).Read(owner)
		if err == nil && k.Attached(before.NetnsRef, owner.IfName) {
			return cni.Attached("%s has its rules of iptables (%s) already", owner, kind)
		}
		if err := takeBack(kind, owner, remove); err != nil {
			return err
		}
		others, err := others(kind, owner)
		if err != nil {
			return err
		}
		r, err := want(others)
		if err != nil {
			return err
		}
		r.Owner, r.NetnsRef = owner, k.NetnsRef()
		err = records(kind).Claim(r)
		for _, six := range families {
			if err == nil {
				err = rules(six).add()
			}
		}
		if err != nil {
			return errors.Join(err, takeBack(kind, owner, remove))
		}
		return nil
	})
}

// detach is the Del of every fact: it removes what there is, if there is a record
// or one of the chains.
func detach(kind string, owner name.Attachment, remove func() error, chains ...chain) error {
	_, none := records(kind).Lift(owner)
	needed, err := !errors.Is(none, fs.ErrNotExist), error(nil)
	if !needed && len(chains) > 0 {
		needed, err = wherever(chains[0].table, some(chains...), nil)
	}
	if needed {
		err = errors.Join(err, locked(func() error { return takeBack(kind, owner, remove) }))
	}
	return err
}

func takeBack(kind string, owner name.Attachment, remove func() error) error {
	if err := remove(); err != nil {
		return err // the record stays: the next DEL tries again
	}
	return records(kind).Remove(owner)
}

// checkBoth checks the rules of both families.
func checkBoth(rules func(six bool) ruleset) error {
	return errors.Join(rules(false).check(), rules(true).check())
}

// locked keeps other plugins from changing rules meanwhile: programs of iptables
// put them in one by one, and what one ADD stands on another pod's DEL may remove.
func locked(change func() error) error {
	lock, err := folder.Lock(unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer lock.Close()
	return change()
}
