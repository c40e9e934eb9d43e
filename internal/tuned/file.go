// Package tuned is the facts about settings that were there before: of the
// pod's interface, of its device, and of its network namespace. What they were
// is saved before the first is changed, and DEL puts back what was saved,
// whatever the configuration says by then.
package tuned

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/name"
	"github.com/catena-cni/catena/internal/store"
	"github.com/catena-cni/catena/internal/sysctl"
)

// File is where the former values of one attachment are kept:
//
//	<folder>/<containerID>_<ifname>.json
//
// Its name and its first five members are upstream's, whose tuning plugin can
// so take back what ours has changed, and ours what it has. The file is removed
// when everything in it is put back.
type File struct {
	Folder store.Folder
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

	Owner   string         `json:"owner,omitempty"`
	Netns   string         `json:"netns,omitempty"`
	NetnsID kernel.NetnsID `json:"netnsID"`
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

// claim writes the first version of the file. One that is there keeps what it
// has, unless it is of a namespace that is gone.
func (f File) claim(s saved) error {
	content, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return err
	}
	err = f.Folder.Claim(f.key(), content)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	before, rerr := f.read()
	if rerr == nil && before.Netns != "" && before.NetnsID != s.NetnsID && kernel.Netns(before.Netns) != before.NetnsID {
		return f.Folder.Replace(f.key(), content)
	}
	err = fmt.Errorf("%s is tuned already: its former values are in %s/%s: %w", f.Owner, f.Folder, f.key(), err)
	return cni.Hint(err, "detach (DEL) the container before it is attached again")
}

// Collect is GC: it removes the files of the network's attachments that are not
// valid. Upstream's files do not say whose network they are of, and stay.
func Collect(folder store.Folder, network string, valid func(text string) bool) error {
	keys, err := folder.Keys()
	if err != nil {
		return err
	}
	var errs []error
	for _, key := range keys {
		b, err := folder.Read(key)
		var s struct{ Owner string }
		if err != nil || json.Unmarshal(b, &s) != nil {
			continue
		}
		if at, err := name.Parse(s.Owner); err == nil && at.Network == network && !valid(at.Comment()) {
			errs = append(errs, folder.Remove(key))
		}
	}
	return errors.Join(errs...)
}
