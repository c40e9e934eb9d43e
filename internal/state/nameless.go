package state

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/file"
)

// nameless opens a file in the folder that has no name yet, so that nothing is
// left of it when this process is killed. Some filesystems have none.
func (f Folder) nameless() (fd int, err error) {
	return f.making(func() (int, error) { return file.Open(string(f), unix.O_TMPFILE|unix.O_WRONLY, 0o600) })
}

// give gives a nameless file a name that nobody else has (open(2), O_TMPFILE).
func give(fd int, path string) error {
	from := fmt.Sprintf("/proc/self/fd/%d", fd)
	err := file.Again(func() error {
		return unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	})
	if err != nil {
		return &os.LinkError{Op: "link", Old: from, New: path, Err: err}
	}
	return nil
}
