package kernel

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/retry"
)

const sysfs = "/sys"

// Sysfs gives the root of a sysfs that shows the links of the host's namespace,
// of which l is one. Who comes in by setns alone (nsenter --net, engines without
// root) has the /sys of another namespace before it. Then a sysfs is mounted that
// nobody else sees, and that ends with done.
func Sysfs(l *Link) (root string, done func(), err error) {
	if !ForeignSysfs(l) {
		return sysfs, func() {}, nil
	}
	return OwnSysfs()
}

// OwnSysfs is Sysfs for who knows already that /sys is another namespace's. It is
// nowhere in the tree of files.
func OwnSysfs() (root string, done func(), err error) {
	var open, fd int
	if open, err = retry.Call(func() (int, error) { return unix.Fsopen("sysfs", unix.FSOPEN_CLOEXEC) }); err == nil {
		defer unix.Close(open)
		err = retry.Do(func() error { return unix.FsconfigCreate(open) })
	}
	if err == nil {
		fd, err = retry.Call(func() (int, error) { return unix.Fsmount(open, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY) })
	}
	if err != nil {
		return "", nil, fmt.Errorf("%s is of another network namespace, and one's own cannot be mounted: %w", sysfs, err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), func() { _ = unix.Close(fd) }, nil
}

// ForeignSysfs reports whether /sys shows another link by that name, or none. A
// /sys without any link shows nothing.
func ForeignSysfs(l *Link) bool {
	of := func(link, what string) (string, error) {
		text, err := os.ReadFile(filepath.Join(sysfs, "class/net", link, what))
		return string(bytes.TrimSpace(text)), err
	}
	if index, err := of(l.Name, "ifindex"); err == nil {
		mac, err := of(l.Name, "address")
		return index != strconv.Itoa(l.Index) || err == nil && !strings.EqualFold(mac, l.MAC.String())
	}
	_, err := of("lo", "ifindex")
	return err == nil
}

// SysfsInode is a number of a link's that stays with it wherever it moves and
// whatever its name, and that no other link of this boot has: the inode of its
// folder in sysfs. Nobody can choose it, as a pod can choose a name, an alias, an
// address and an index.
func (k *Kernel) SysfsInode(s Side, l *Link) (inode uint64, err error) {
	err = k.inSysfs(s, func(classNet string) error {
		at, index, err := identify(filepath.Join(classNet, l.Name))
		if err == nil && index != l.Index {
			err = fmt.Errorf("link %s: it is another one by now: %w", l.Name, fs.ErrNotExist)
		}
		inode = at
		return err
	})
	return inode, err
}

// LinkOfInode finds the link that has the inode, and looks first at one by name.
// One that is not there is fs.ErrNotExist.
func (k *Kernel) LinkOfInode(s Side, inode uint64, name string) (*Link, error) {
	found := 0
	err := k.inSysfs(s, func(classNet string) error {
		if at, index, err := identify(filepath.Join(classNet, name)); err == nil && at == inode {
			found = index
			return nil
		}
		links, err := os.ReadDir(classNet)
		for _, l := range links { // those that are none, or have gone, are passed over
			if at, index, err := identify(filepath.Join(classNet, l.Name())); err == nil && at == inode {
				found = index
			}
		}
		return err
	})
	if err == nil && found == 0 {
		err = fmt.Errorf("link %s: there is none: %w", name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	return k.LinkAt(s, found)
}

// inSysfs gives the folder of a side's links in a sysfs of its own: what is at /sys
// may be anything.
func (k *Kernel) inSysfs(s Side, look func(classNet string) error) error {
	return k.Do(s, func() error {
		root, done, err := OwnSysfs()
		if err != nil {
			return err
		}
		defer done()
		return look(filepath.Join(root, "class/net"))
	})
}

// identify reads both numbers from one open folder, so that they are of one link,
// whatever a pod renames meanwhile.
func identify(path string) (inode uint64, index int, err error) {
	folder, err := os.OpenRoot(path)
	if err != nil {
		return 0, 0, err
	}
	defer folder.Close()
	st, err := folder.Stat(".")
	if err != nil {
		return 0, 0, err
	}
	text, err := folder.ReadFile("ifindex")
	if err == nil {
		index, err = strconv.Atoi(string(bytes.TrimSpace(text)))
	}
	return st.Sys().(*syscall.Stat_t).Ino, index, err
}
