package state

import (
	"errors"
	"fmt"
	"io"
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

// ReadFile reads a plain file of at most limit bytes, also through links. A pipe
// or a device at its path, which could keep the reader for ever, is an error, and
// so is a larger file.
func ReadFile(path string, limit int64) ([]byte, error) { return read(path, limit, 0, false) }

// ReadTrusted is ReadFile for what is believed: whoever could write it could have
// something done as root, so it must be root's, or of this process's user.
func ReadTrusted(path string, limit int64) ([]byte, error) { return read(path, limit, 0, true) }

// read opens without waiting, as a pipe that nobody writes to would have it.
func read(path string, limit int64, flags int, trusted bool) ([]byte, error) {
	f, err := os.OpenFile(path, unix.O_NONBLOCK|flags, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) { // a link, or a socket
		return nil, Damaged("%s is no plain file", path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, Damaged("%s is no plain file", path)
	}
	if uid := int(st.Sys().(*syscall.Stat_t).Uid); trusted && uid != 0 && uid != os.Geteuid() {
		return nil, Damaged("%s belongs to the user %d, and only what is root's is believed", path, uid)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = Damaged("%s has more than %d bytes", path, limit)
	}
	return b, err
}
