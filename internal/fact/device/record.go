package device

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact/addr"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// records are what devices were before they moved, in files that die with the
// boot, as every move does. A file is there before the device moves and goes
// when it is back.
var records = state.Records[record]{Folder: "/run/catena/device"}

// record is the content of such a file.
type record struct {
	Owner name.Attachment `json:"owner"`
	kernel.NetnsRef

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
	// Inode tells the link from every other, 0 where there is no sysfs to say it.
	Inode uint64 `json:"inode,omitempty"`
	// Tried says that a DEL could not make the device again what it was.
	Tried bool `json:"tried,omitempty"`
	// Hardware is the folder below /sys/devices of the device, if it is one.
	Hardware  string      `json:"hardware,omitempty"`
	Addresses []addr.Kept `json:"addresses,omitempty"`
	// Settings is nil where they are not known.
	Settings *settings `json:"settings,omitempty"`
}

// settings are what a move leaves as it is, and a pod may change.
type settings struct {
	Flags    uint32   `json:"flags,omitempty"` // of settable
	TxQLen   int      `json:"txQLen,omitempty"`
	Group    uint32   `json:"group,omitempty"`
	AltNames []string `json:"altNames,omitempty"`
}

const settable = unix.IFF_PROMISC | unix.IFF_ALLMULTI | unix.IFF_NOARP

func (r record) Of() name.Attachment { return r.Owner }

// Attachments lists those that have a device, for GC.
func Attachments(*kernel.Kernel) ([]name.Attachment, error) { return records.Owners() }

// Abandoned lists those of Attachments whose pods are provably gone.
func Abandoned() ([]name.Attachment, error) { return records.Abandoned() }

// describe writes down what a host's link is, on its way into the pod.
func describe(k *kernel.Kernel, owner name.Attachment, l *kernel.Link) (r record, err error) {
	r = record{
		Owner: owner, NetnsRef: kernel.NetnsRef{Netns: k.PodPath(), PodID: k.PodID()},
		Name: l.Name, Alias: l.Alias, Kind: l.Kind, MAC: l.MAC.String(), PermMAC: l.PermMAC.String(), MTU: l.MTU, Up: l.Up(),
		Settings: &settings{l.Flags & settable, l.TxQLen, l.Typed.Attrs().Group, l.Typed.Attrs().AltNames},
	}
	if l.Master != 0 {
		master, err := k.LinkAt(kernel.Host, l.Master)
		if err != nil {
			return r, fmt.Errorf("master of %s: %w", l.Name, err)
		}
		r.Master = master.Name
	}
	var herr, aerr error
	r.Hardware, herr = hardware(l)
	r.Addresses, aerr = addr.Keep(k, l)
	r.Inode, _ = k.SysfsInode(kernel.Host, l)
	return r, errors.Join(herr, aerr)
}

// hardware is the folder of the device behind a link, empty for a virtual one. Where
// no sysfs shows the link, it is the one that the link's bus has, as far as there is
// one.
func hardware(l *kernel.Link) (string, error) {
	root, done, err := kernel.Sysfs(l)
	if err != nil {
		at := l.Typed.Attrs()
		if at.ParentDev == "" {
			return "", nil
		}
		folder, _ := filepath.EvalSymlinks(filepath.Join("/sys/bus", at.ParentDevBus, "devices", at.ParentDev))
		return folder, nil
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

// busy is the error for a device that another pod has.
func (r record) busy() error {
	err := cni.Taken("%s is in the pod of %s", r.Name, r.Owner)
	return cni.Hint(err, fmt.Sprintf("its network namespace is %s; a device comes home when the container is detached (DEL)", r.Netns))
}

// is reports whether a link of a side is the device that was written down. A pod
// that makes another one in its place, with all that a link can be given, is not
// believed; where there is no sysfs to tell, what it can be given has to do.
func (r record) is(k *kernel.Kernel, side kernel.Side, l *kernel.Link) bool {
	if r.Inode == 0 {
		return r.same(l)
	}
	inode, err := k.SysfsInode(side, l)
	return err == nil && inode == r.Inode
}

// same is is by what the link has.
func (r record) same(l *kernel.Link) bool {
	switch {
	case l.Kind != r.Kind, l.Flags&unix.IFF_LOOPBACK != 0:
		return false
	case r.PermMAC != "":
		return l.PermMAC.String() == r.PermMAC
	}
	return l.MAC.String() == r.MAC || l.Alias == r.Name
}

// unmistakable is same where the link's name tells nothing: two virtual links
// may have one address.
func (r record) unmistakable(l *kernel.Link) bool {
	return r.same(l) && (r.PermMAC != "" || l.Alias == r.Name)
}
