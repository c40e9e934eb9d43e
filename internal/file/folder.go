package file

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Mode is the kind of a file and who may do what with it (inode(7), st_mode).
type Mode uint32

// IsRegular reports whether it is a plain file.
func (m Mode) IsRegular() bool { return m&unix.S_IFMT == unix.S_IFREG }

// IsFolder reports whether it is a folder.
func (m Mode) IsFolder() bool { return m&unix.S_IFMT == unix.S_IFDIR }

// ModeOf looks what is at a path, or at the end of the links that are there.
func ModeOf(path string) (Mode, error) {
	var st unix.Stat_t
	err := Again(func() error { return unix.Stat(path, &st) })
	return Mode(st.Mode), failed("stat", path, err)
}

// MakeFolder makes a folder and those above it that are missing. One that is
// there is success.
func MakeFolder(path string, mode uint32) error {
	mkdir := func() error { return Again(func() error { return unix.Mkdir(path, mode) }) }
	err := mkdir()
	if parent := filepath.Dir(path); err == unix.ENOENT && parent != path {
		if err := MakeFolder(parent, mode); err != nil {
			return err
		}
		err = mkdir()
	}
	if err == unix.EEXIST {
		if m, _ := ModeOf(path); m.IsFolder() {
			return nil
		}
		err = unix.ENOTDIR
	}
	return failed("mkdir", path, err)
}

// Rename gives a file another path, in place of what may be there.
func Rename(from, to string) error {
	if err := Again(func() error { return unix.Rename(from, to) }); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// Entry is what a folder says of one file in it.
type Entry struct {
	Name string
	// Regular says that it is a plain file.
	Regular bool
}

// List is what is in a folder, in no order.
func List(folder string) (all []Entry, err error) {
	fd, err := Open(folder, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	err = Each(fd, folder, func(e Entry) bool {
		all = append(all, e)
		return true
	})
	return all, err
}

// Each calls a function with what is in an open folder, until that has enough.
func Each(fd int, folder string, more func(Entry) bool) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := Retry(func() (int, error) { return unix.Getdents(fd, buf) })
		if err != nil || n == 0 {
			return failed("readdirent", folder, err)
		}
		for rest := buf[:n]; len(rest) > 0; {
			var e Entry
			if e, rest, err = entry(fd, rest); err != nil {
				return failed("readdirent", folder, err)
			}
			if e.Name != "" && e.Name != "." && e.Name != ".." && !more(e) {
				return nil
			}
		}
	}
}

// What stands before the name in a struct linux_dirent64 (getdents(2)).
const (
	direntLength = 16 // of the whole, in two bytes
	direntType   = 18
	direntName   = 19
)

// entry reads the first one of a buffer. Its name is empty where the file has
// gone meanwhile.
func entry(fd int, buf []byte) (e Entry, rest []byte, err error) {
	if len(buf) < direntName {
		return e, nil, errors.New("an entry is cut short")
	}
	length := int(binary.NativeEndian.Uint16(buf[direntLength:]))
	if length < direntName || length > len(buf) {
		return e, nil, errors.New("an entry is cut short")
	}
	name, _, _ := bytes.Cut(buf[direntName:length], []byte{0})
	e.Name, e.Regular = string(name), buf[direntType] == unix.DT_REG
	if buf[direntType] == unix.DT_UNKNOWN { // some filesystems do not say
		var st unix.Stat_t
		err = Again(func() error { return unix.Fstatat(fd, e.Name, &st, unix.AT_SYMLINK_NOFOLLOW) })
		if e.Regular = Mode(st.Mode).IsRegular(); errors.Is(err, fs.ErrNotExist) {
			return Entry{}, buf[length:], nil
		}
	}
	return e, buf[length:], err
}
