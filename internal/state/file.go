package state

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrDamaged is in the error for what is in a record's place and is none.
var ErrDamaged = errors.New("it is no record of an attachment's")

// Damaged is ErrDamaged in words of its own.
func Damaged(format string, args ...any) error { return damaged(fmt.Sprintf(format, args...)) }

type damaged string

func (d damaged) Error() string      { return string(d) }
func (damaged) Is(target error) bool { return target == ErrDamaged }

// ReadFile reads a plain file of at most limit bytes, also through links. A larger
// file is an error.
func ReadFile(path string, limit int64) ([]byte, error) { return read(path, limit, 0, false) }

// ReadTrusted is ReadFile for what is believed: whoever could write it could have
// something done as root, so it must be root's, or of this process's user.
func ReadTrusted(path string, limit int64) ([]byte, error) { return read(path, limit, 0, true) }

func read(path string, limit int64, flags int, trusted bool) ([]byte, error) {
	f, st, err := Open(path, flags)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if uid := int(st.Sys().(*syscall.Stat_t).Uid); trusted && uid != 0 && uid != os.Geteuid() {
		return nil, Damaged("%s belongs to the user %d, and only what is root's is believed", path, uid)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = Damaged("%s has more than %d bytes", path, limit)
	}
	return b, err
}

// Open opens a plain file, and nothing else: a pipe or a device at its path could
// keep who reads it for ever. Nobody is waited for at the other end of one. With
// unix.O_NOFOLLOW a link is no plain file either.
func Open(path string, flags int) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(path, flags|unix.O_NONBLOCK, 0o600)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.EISDIR) { // a link, a socket, or a folder
		return nil, nil, Damaged("%s is no plain file", path)
	}
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = Damaged("%s is no plain file", path)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, st, nil
}
