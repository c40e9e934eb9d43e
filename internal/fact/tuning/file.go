// Package tuning is the facts about settings that were there before: of the
// pod's interface, of its device, and of its network namespace. What they were
// is saved before the first is changed, and DEL puts back what was saved,
// whatever the configuration says by then.
package tuning

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact/sysctl"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// File is where the former values of one attachment are kept:
//
//	<folder>/<containerID>_<ifname>.json
//
// Its name and its first five members are upstream's, whose tuning plugin can
// so take back what ours has changed, and ours what it has. The file is removed
// when everything in it is put back.
type File struct {
	Folder state.Folder
	Owner  name.Attachment
}

func (f File) key() string { return f.Owner.ContainerID + "_" + f.Owner.IfName + ".json" }

// saved is the content of a File.
type saved struct {
	MAC      string `json:"mac,omitempty"`
	Promisc  *bool  `json:"promisc,omitempty"`
	MTU      int    `json:"mtu,omitempty"`
	AllMulti *bool  `json:"allmulti,omitempty"`
	TxQLen   *int   `json:"txQLen,omitempty"`

	Sysctl   sysctl.Pairs    `json:"sysctl,omitempty"`
	Features map[string]bool `json:"ethtool,omitempty"`

	Owner string `json:"owner,omitempty"`
	Netns string `json:"netns,omitempty"`
	kernel.PodID
}

// read gives what is saved, nothing where there is no file.
func (f File) read() (s saved, err error) {
	b, err := f.Folder.Read(f.key())
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("%s/%s says nothing that can be read: %w", f.Folder, f.key(), err)
	}
	return s, nil
}

// of reports whether the values are of a container's interface. "a_b" with "c"
// has the file name of "a" with "b_c"; the network may have got another name.
func (s saved) of(at name.Attachment) bool {
	owner, err := name.Parse(s.Owner)
	return err != nil || owner.ContainerID == at.ContainerID && owner.IfName == at.IfName
}

// in reports whether the values are of the pod that is there. Where the file does
// not say so for certain, as upstream's does not, the interface has to.
func (s saved) in(k *kernel.Kernel, link string) bool {
	now := k.PodID()
	switch {
	case !k.Has(kernel.Pod), s.NetnsID != (kernel.NetnsID{}) && !s.PodID.Is(now):
		return false
	case s.Cookie != 0 && now.Cookie != 0, k.Trusted():
		return true
	}
	l, err := k.Link(kernel.Pod, link)
	return err == nil && k.Owned(l)
}

// claim writes the first version of the file. To one that is there only those
// values are added that it has not: a second ADD, or a second tuning of one
// chain, finds what the first has made of the others. So the first DEL puts back
// what both have changed.
func (f File) claim(s saved, wanted Values) error {
	content, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return err
	}
	err = f.Folder.Claim(f.key(), content)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	before, rerr := f.read()
	switch {
	case rerr == nil && !before.of(f.Owner) && kernel.Netns(before.Netns) == before.NetnsID:
		err = cni.Taken("%s/%s has the former values of %s", f.Folder, f.key(), before.Owner)
		return cni.Hint(err, "detach (DEL) "+before.Owner+" first")
	case rerr == nil && before.of(f.Owner) && before.speaksOf(s, wanted):
		s = before.and(s)
	}
	if content, err = json.MarshalIndent(s, "", " "); err != nil {
		return err
	}
	return f.Folder.Replace(f.key(), content)
}

// speaksOf reports whether the values are of the pod as it is now. Upstream
// leaves files behind when a namespace dies before DEL, and does not say in them
// which one it was: they are believed where the interface has already what it
// shall get of what they speak of.
func (s saved) speaksOf(now saved, wanted Values) bool {
	if s.NetnsID != (kernel.NetnsID{}) {
		return s.PodID.Is(now.PodID)
	}
	both := s.values().only(wanted)
	return !both.none() && wanted.only(both).String() == now.values().only(both).String()
}

// and adds the values of other that s has not.
func (s saved) and(other saved) saved {
	own := s.values()
	if own.MAC == nil {
		s.MAC = other.MAC
	}
	if own.MTU == 0 {
		s.MTU = other.MTU
	}
	s.Promisc = cmp.Or(s.Promisc, other.Promisc)
	s.AllMulti = cmp.Or(s.AllMulti, other.AllMulti)
	s.TxQLen = cmp.Or(s.TxQLen, other.TxQLen)
	for _, p := range other.Sysctl {
		if !slices.ContainsFunc(s.Sysctl, func(o sysctl.Pair) bool { return o.Key == p.Key }) {
			s.Sysctl = append(s.Sysctl, p)
		}
	}
	s.Sysctl.Order()
	features := maps.Clone(other.Features)
	if features == nil {
		features = s.Features
	}
	maps.Copy(features, s.Features)
	s.Features = features
	s.Owner, s.Netns, s.PodID = other.Owner, other.Netns, other.PodID
	return s
}

// Collect is GC: it is DEL for the network's attachments that are not valid.
// Upstream's files do not say whose network they are of: see legacy.
func Collect(folder state.Folder, network string, valid func(text string) bool) error {
	keys, err := folder.Keys()
	if err != nil {
		return err
	}
	var errs []error
	for _, key := range keys {
		b, err := folder.Read(key)
		var s saved
		if err != nil || json.Unmarshal(b, &s) != nil {
			continue
		}
		at, err := name.Parse(s.Owner)
		f := File{Folder: folder, Owner: at}
		if err == nil && at.Network == network && !valid(at.Comment()) && f.key() == key {
			errs = append(errs, f.collect(s))
		}
	}
	return errors.Join(errs...)
}

// Abandoned lists the attachments whose values are saved and whose pods are
// provably gone.
func Abandoned(folder state.Folder) (out []name.Attachment, err error) {
	keys, err := folder.Keys()
	for _, key := range keys {
		b, err := folder.Read(key)
		var s saved
		if err != nil || json.Unmarshal(b, &s) != nil || !(kernel.NetnsRef{Netns: s.Netns, NetnsID: s.NetnsID}).Abandoned() {
			continue
		}
		if at, err := name.Parse(s.Owner); err == nil {
			out = append(out, at)
		}
	}
	return out, err
}

// collect looks into the pod where its namespace is still at its path.
func (f File) collect(s saved) error {
	path := ""
	if kernel.Netns(s.Netns) == s.NetnsID {
		path = s.Netns
	}
	k, err := kernel.Open(path)
	if err != nil {
		return err
	}
	defer k.Close()
	return Saved{File: f, Link: f.Owner.IfName}.Del(k)
}
