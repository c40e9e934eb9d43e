package device

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact/addr"
	"github.com/catena-cni/catena/internal/json"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// What a device was before it moved is kept in a file that dies with the boot,
// as every move does:
//
//	/run/catena/device/<key>   a JSON object: owner, netns, what the link was
//
// <key> is a hash of the attachment. The file is there before the device moves
// and goes after it is home.
const records = state.Folder("/run/catena/device")

// record is the content of such a file.
type record struct {
	Owner name.Attachment `json:"owner"`
	// Netns is the path of the pod's namespace, and PodID the namespace that was
	// there.
	Netns string `json:"netns"`
	kernel.PodID

	Name    string `json:"name"`
	Alias   string `json:"alias,omitempty"`
	Kind    string `json:"kind,omitempty"`
	MAC     string `json:"mac"`
	PermMAC string `json:"permMAC,omitempty"`
	MTU     int    `json:"mtu"`
	Up      bool   `json:"up"`
	// Master is the name of the bridge or bond that the link was a port of. The
	// kernel takes it out when it moves.
	Master string `json:"master,omitempty"`
	// Hardware is the folder below /sys/devices of the device, if it is one.
	Hardware  string      `json:"hardware,omitempty"`
	Addresses []addr.Kept `json:"addresses,omitempty"`
}

// describe writes down what a host's link is, on its way into the pod.
func describe(k *kernel.Kernel, owner name.Attachment, l *kernel.Link) (r record, err error) {
	r = record{
		Owner: owner, Netns: k.PodPath(), PodID: k.PodID(),
		Name: l.Name, Alias: l.Alias, Kind: l.Kind, MAC: l.MAC.String(), PermMAC: l.PermMAC.String(), MTU: l.MTU, Up: l.Up(),
	}
	if l.Master != 0 {
		master, err := k.LinkAt(kernel.Host, l.Master)
		if err != nil {
			return r, fmt.Errorf("master of %s: %w", l.Name, err)
		}
		r.Master = master.Name
	}
	if r.Hardware, err = hardware(l); err != nil {
		return r, err
	}
	r.Addresses, err = addr.Keep(k, l)
	return r, err
}

// hardware is the folder of the device behind a link, empty for a virtual one.
func hardware(l *kernel.Link) (string, error) {
	root, done, err := kernel.Sysfs(l)
	if err != nil {
		return "", err
	}
	defer done()
	folder, err := os.OpenFile(filepath.Join(root, "class/net", l.Name, "device"), unix.O_PATH, 0)
	if err != nil {
		return "", nil
	}
	defer folder.Close()
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", folder.Fd()))
	return filepath.Join("/sys", strings.TrimPrefix(path, "/sys")), err
}

func (r record) claim() error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := records.Claim(r.Owner.Key(), content); err != nil {
		return fmt.Errorf("record of %s: %w", r.Owner, err)
	}
	return nil
}

func read(owner name.Attachment) (record, error) { return readKey(owner.Key()) }

func readKey(key string) (r record, err error) {
	b, err := records.Read(key)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%s/%s: %w", records, key, err)
	}
	if r.Name == "" || r.Owner.Key() != key {
		return r, fmt.Errorf("%s/%s is of no attachment", records, key)
	}
	return r, nil
}

func forget(owner name.Attachment) error { return records.Remove(owner.Key()) }

// all reads every record. One that cannot be read speaks of nothing.
func all() (out []record, err error) {
	keys, err := records.Keys()
	for _, key := range keys {
		if r, err := readKey(key); err == nil {
			out = append(out, r)
		}
	}
	return out, err
}

// Attachments lists those that have a device, for GC.
func Attachments(*kernel.Kernel) ([]name.Attachment, error) {
	list, err := all()
	var out []name.Attachment
	for _, r := range list {
		out = append(out, r.Owner)
	}
	return out, err
}

// Abandoned lists those of Attachments whose pods are provably gone.
func Abandoned() (out []name.Attachment, err error) {
	list, err := all()
	for _, r := range list {
		if r.abandoned() {
			out = append(out, r.Owner)
		}
	}
	return out, err
}

// abandoned reports whether the pod that the device went to is provably gone:
// its namespace is not at its path any more.
func (r record) abandoned() bool { return kernel.Netns(r.Netns) != r.NetnsID }

// busy is the error for a device that another pod has.
func (r record) busy() error {
	err := cni.Taken("%s is in the pod of %s", r.Name, r.Owner)
	return cni.Hint(err, fmt.Sprintf("its network namespace is %s; a device comes home when the container is detached (DEL)", r.Netns))
}

// same reports whether a link is the device that was written down.
func (r record) same(l *kernel.Link) bool {
	switch {
	case l.Kind != r.Kind, l.Flags&unix.IFF_LOOPBACK != 0:
		return false
	case r.PermMAC != "":
		return l.PermMAC.String() == r.PermMAC
	}
	return l.MAC.String() == r.MAC || l.Alias == r.Name
}

// surely is same where the link's name tells nothing: two virtual links may
// have one address.
func (r record) surely(l *kernel.Link) bool {
	return r.same(l) && (r.PermMAC != "" || l.Alias == r.Name)
}
