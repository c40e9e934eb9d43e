package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// nameless opens a file in the folder that has no name yet, so that nothing is
// left of it when this process is killed. Some filesystems have none.
func (f Folder) nameless() (*os.File, error) {
	open := func() (*os.File, error) { return os.OpenFile(string(f), unix.O_TMPFILE|os.O_WRONLY, 0o600) }
	file, err := open()
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(string(f), 0o700); err != nil {
			return nil, err
		}
		file, err = open()
	}
	return file, err
}

// give gives a nameless file a name that nobody else has (open(2), O_TMPFILE).
func give(file *os.File, path string) error {
	from := fmt.Sprintf("/proc/self/fd/%d", file.Fd())
	if err := unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW); err != nil {
		return &os.LinkError{Op: "link", Old: from, New: path, Err: err}
	}
	return nil
}
