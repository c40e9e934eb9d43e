package kernel

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/retry"
)

// NetnsID tells one network namespace from every other of this boot: the
// device and inode of its file (namespaces(7)). The zero value is no namespace.
type NetnsID struct {
	Dev, Ino uint64
}

func (id NetnsID) String() string { return fmt.Sprintf("%d:%d", id.Dev, id.Ino) }

// Netns identifies the network namespace at path. Where none is, whatever the
// reason, the zero value is returned.
func Netns(path string) NetnsID {
	id, _ := LookNetns(path)
	return id
}

// LookNetns is Netns with the reason: nothing is at the path, or nothing is
// mounted there, which is the zero value, or it could not be looked at.
func LookNetns(path string) (NetnsID, error) {
	var fs unix.Statfs_t
	var st unix.Stat_t
	err := retry.Do(func() error { return unix.Statfs(path, &fs) })
	if err == nil {
		err = retry.Do(func() error { return unix.Stat(path, &st) })
	}
	switch {
	case errors.Is(err, unix.ENOENT), err == nil && fs.Type != nsMagic:
		return NetnsID{}, nil
	case err != nil:
		return NetnsID{}, fmt.Errorf("network namespace %s: %w", path, err)
	}
	return NetnsID{Dev: uint64(st.Dev), Ino: st.Ino}, nil
}

// OwnNetns reports whether path is the namespace that this process runs in.
func OwnNetns(path string) bool {
	id := Netns(path)
	return id != NetnsID{} && id == Netns("/proc/thread-self/ns/net")
}

// BootID is the kernel's name for the time since it was started. What was
// recorded under another one describes a kernel that is gone.
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
