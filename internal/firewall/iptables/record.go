package iptables

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/firewall/nft"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// Upstream's chains have no room for the interface, and its accepting rules for
// any owner at all. So what an attachment has is recorded in files that die,
// like the rules, with the boot:
//
//	/run/catena/iptables/<chain>.<key>    a JSON object: owner, netns, addresses,
//	                                      ports
//
// <chain> is the chain that the rules are in, <key> a hash of the attachment.
const records = state.Folder("/run/catena/iptables")

// record is the content of such a file.
type record struct {
	Owner name.Attachment `json:"owner"`
	kernel.NetnsRef
	// Addrs are the pod's.
	Addrs []netip.Addr `json:"addrs,omitempty"`
	// Ports are those that lead to the pod, under the conditions.
	Ports      []nft.Mapping `json:"ports,omitempty"`
	Conditions string        `json:"conditions,omitempty"`
	// Bridge is the one that is kept apart from others, or in itself. Its rules
	// stay where upstream's plugin had made them before.
	Bridge   string `json:"bridge,omitempty"`
	Isolated bool   `json:"isolated,omitempty"`
	Stays    bool   `json:"stays,omitempty"`

	chain string
}

func (r record) key() string { return r.chain + "." + r.Owner.Key() }

// read gives the attachment's record, or os.ErrNotExist.
func (r record) read() (record, error) { return readRecord(r.key()) }

// made reports whether the attachment has a record.
func (r record) made() (bool, error) {
	_, err := r.read()
	return !errors.Is(err, fs.ErrNotExist), nil
}

func readRecord(key string) (r record, err error) {
	r.chain, _, _ = strings.Cut(key, ".")
	b, err := records.Read(key)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%s/%s: %w", records, key, err)
	}
	return r, nil
}

func (r record) remove() error { return records.Remove(r.key()) }

// claim writes the record of an attachment that has none. One that is of a pod
// that is gone, for which nobody said DEL, is replaced: again says so, and what
// it speaks of is to be taken away first.
func (r record) claim(k *kernel.Kernel) (again bool, err error) {
	r.NetnsRef = k.NetnsRef()
	content, err := json.Marshal(r)
	if err != nil {
		return false, err
	}
	err = records.Claim(r.key(), content)
	if !errors.Is(err, fs.ErrExist) {
		return false, err
	}
	before, err := r.read()
	if err == nil && before.NetnsID == r.NetnsID && !before.Abandoned() {
		err := cni.Taken("%s has its rules of iptables in %s already", r.Owner, r.chain)
		return false, cni.Hint(err, "a container is detached (DEL) before it is attached again")
	}
	return true, records.Replace(r.key(), content)
}

// siblings are the other records of the same chain.
func (r record) siblings() ([]string, error) {
	keys, err := records.Keys()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, key := range keys {
		if strings.HasPrefix(key, r.chain+".") && key != r.key() {
			out = append(out, key)
		}
	}
	return out, nil
}

// all reads the records whose chain begins with a prefix. One that cannot be
// read speaks for nobody.
func all(prefix string) (out []record, err error) {
	keys, err := records.Keys()
	for _, key := range keys {
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		if r, err := readRecord(key); err == nil {
			out = append(out, r)
		}
	}
	return out, err
}

// Abandoned lists the attachments that have rules and whose pods are provably
// gone, for GC.
func Abandoned() ([]name.Attachment, error) {
	list, err := all("")
	list = slices.DeleteFunc(list, func(r record) bool { return !r.NetnsRef.Abandoned() })
	return owners(list), err
}

func owners(of []record) (out []name.Attachment) {
	for _, r := range of {
		out = append(out, r.Owner)
	}
	return out
}
