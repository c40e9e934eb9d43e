package delegated

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// What an attachment's plugin was given is kept in a file, from before the
// plugin's ADD until its DEL has succeeded:
//
//	<folder>/<containerID>            of the interface eth0
//	<folder>/<containerID>:<ifname>   of any other
//
// A colon can be in neither part. The content is the plugin's configuration,
// with a member more that says whose it is. The first form is upstream's, whose
// flannel has it for every interface and without that member: each can detach
// what the other has attached.

// usual is the interface whose file has the container's name alone.
const usual = "eth0"

// mark is the member that upstream's files have not.
const mark = "catena"

// owner is its value. The folder outlives the boot, which the namespace's number
// is of.
type owner struct {
	Attachment name.Attachment `json:"attachment"`
	Netns      string          `json:"netns"`
	NetnsID    kernel.NetnsID  `json:"netnsID"`
	Boot       string          `json:"boot"`
}

func ownerOf(at name.Attachment, netns string) (owner, error) {
	boot, err := kernel.BootID()
	return owner{Attachment: at, Netns: netns, NetnsID: kernel.Netns(netns), Boot: boot}, err
}

// lives reports whether the pod's namespace is where it was.
func (o owner) lives() bool {
	now, err := ownerOf(o.Attachment, o.Netns)
	return err == nil && o == now && o.NetnsID != kernel.NetnsID{}
}

// Record is the content of one file.
type Record struct {
	Conf Conf
	// Owner is whose it is. Upstream does not say the interface.
	Owner name.Attachment
	// Netns is the path of the pod's namespace, empty where nobody knows or
	// another one is there now.
	Netns string

	folder state.Folder
	key    string
	// foreign says that upstream wrote the file.
	foreign bool
	content []byte
}

func keyOf(at name.Attachment) string {
	if at.IfName == usual {
		return at.ContainerID
	}
	return at.ContainerID + ":" + at.IfName
}

// Find reads what is kept of an attachment, or os.ErrNotExist. What is kept
// under the attachment's file name may be of another network: then it is that
// one's Owner that the record has. It names its file also beside state.ErrDamaged.
func Find(folder state.Folder, at name.Attachment) (Record, error) {
	r, err := read(folder, keyOf(at))
	if errors.Is(err, fs.ErrNotExist) && at.IfName != usual {
		r, err = read(folder, at.ContainerID)
		if err == nil && !r.foreign || errors.Is(err, state.ErrDamaged) {
			return Record{}, fs.ErrNotExist // that one is eth0's
		}
	}
	if err != nil || !r.foreign {
		return r, err
	}
	if r.Owner.Network != at.Network {
		return Record{}, fs.ErrNotExist
	}
	r.Owner = at
	return r, nil
}

func read(folder state.Folder, key string) (r Record, err error) {
	r = Record{folder: folder, key: key}
	if r.content, err = folder.Read(key); err != nil {
		return r, err
	}
	if json.Unmarshal(r.content, &r.Conf) != nil {
		return r, r.damaged()
	}
	network, nameErr := r.Conf.text("name")
	plugin, typeErr := r.Conf.Type()
	if nameErr != nil || typeErr != nil || network == "" || plugin == "" {
		return r, r.damaged()
	}
	container, _, _ := strings.Cut(key, ":")
	r.Owner = name.Attachment{Network: network, ContainerID: container, IfName: usual}
	text, marked := r.Conf[mark]
	r.foreign = !marked
	if marked {
		var o owner
		if json.Unmarshal(text, &o) != nil || keyOf(o.Attachment) != key {
			return r, r.damaged()
		}
		delete(r.Conf, mark)
		r.Owner = o.Attachment
		if o.lives() {
			r.Netns = o.Netns
		}
	}
	return r, nil
}

func (r Record) damaged() error {
	return state.Damaged("%s: it is no configuration of a plugin", r.File())
}

// SetAside takes a damaged record out of the way.
func (r Record) SetAside(damage error) error { return r.folder.SetAside(r.key, damage) }

// File is the path of the file that an attachment has in a folder.
func File(folder state.Folder, at name.Attachment) string {
	return Record{folder: folder, key: keyOf(at)}.File()
}

// File is the path of the record.
func (r Record) File() string { return string(r.folder) + "/" + r.key }

// Abandoned reports whether the pod is provably gone: its namespace is not at
// its path any more.
func (r Record) Abandoned() bool { return !r.foreign && r.Netns == "" }

// Alive reports whether the record is of a pod that may live.
func (r Record) Alive() bool { return r.content != nil && !r.Abandoned() }

// Remove removes the file.
func (r Record) Remove() error { return r.folder.Remove(r.key) }

// Restore writes the file again as it was read, or removes it where there was
// none.
func (r Record) Restore() error {
	if r.content == nil {
		return r.Remove()
	}
	return r.folder.Replace(r.key, r.content)
}

// Keep writes down what an attachment's plugin is given. Replaced is what was
// there before it.
func Keep(folder state.Folder, at name.Attachment, netns string, conf Conf) (kept, replaced Record, err error) {
	marked := conf.Clone()
	o, err := ownerOf(at, netns)
	text, terr := json.Marshal(o)
	marked[mark] = text
	content, cerr := json.Marshal(marked)
	if err = errors.Join(err, terr, cerr); err != nil {
		return kept, replaced, err
	}
	kept = Record{Conf: conf, Owner: at, Netns: netns, folder: folder, key: keyOf(at), content: content}
	replaced, _ = read(folder, kept.key)
	if err := folder.Replace(kept.key, content); err != nil {
		return kept, replaced, fmt.Errorf("keep what %s is made with: %w", at, err)
	}
	return kept, replaced, nil
}

// Stale lists what is kept of a network's attachments that are not valid. Of
// upstream's files none is stale while the container has a valid attachment:
// they do not say which interface they are of.
func Stale(folder state.Folder, network string, valid []name.Attachment) (stale []Record, err error) {
	keys, err := folder.Keys()
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		r, err := read(folder, key)
		if err != nil || r.Owner.Network != network {
			continue // nothing says that it is the network's
		}
		alive := slices.ContainsFunc(valid, func(v name.Attachment) bool {
			return v == r.Owner || r.foreign && v.ContainerID == r.Owner.ContainerID
		})
		if !alive {
			stale = append(stale, r)
		}
	}
	return stale, nil
}
