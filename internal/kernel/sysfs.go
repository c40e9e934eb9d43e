package kernel

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

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

// OwnSysfs is Sysfs for who knows already that /sys is another namespace's.
func OwnSysfs() (root string, done func(), err error) {
	fd, err := ownSysfs()
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

// ownSysfs mounts a sysfs of this namespace and gives its root, which is nowhere
// in the tree of files.
func ownSysfs() (int, error) {
	fs, err := retry.Call(func() (int, error) { return unix.Fsopen("sysfs", unix.FSOPEN_CLOEXEC) })
	if err != nil {
		return -1, fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(fs)
	if err := retry.Do(func() error { return unix.FsconfigCreate(fs) }); err != nil {
		return -1, fmt.Errorf("fsconfig: %w", err)
	}
	root, err := retry.Call(func() (int, error) { return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY) })
	if err != nil {
		return -1, fmt.Errorf("fsmount: %w", err)
	}
	return root, nil
}
