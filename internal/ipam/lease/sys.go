package lease

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/file"
)

func openat(dir int, name string, flags int) (int, error) {
	return file.Retry(func() (int, error) { return unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0o600) })
}

func unlinkat(dir int, name string) error {
	return file.Again(func() error { return unix.Unlinkat(dir, name, 0) })
}

func symlinkat(text string, dir int, name string) error {
	return file.Again(func() error { return unix.Symlinkat(text, dir, name) })
}

func readlinkat(dir int, name string, buf []byte) (int, error) {
	return file.Retry(func() (int, error) { return unix.Readlinkat(dir, name, buf) })
}

func stat(path string, st *unix.Stat_t) error {
	return file.Again(func() error { return unix.Stat(path, st) })
}

func fstat(fd int, st *unix.Stat_t) error {
	return file.Again(func() error { return unix.Fstat(fd, st) })
}

// readat returns the content of a small file, cut at len(buf), and when it
// was last changed. It opens nothing but a plain file.
func readat(dir int, name string, buf []byte) ([]byte, int64, error) {
	fd, err := openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err == unix.ELOOP {
		err = errNotPlain
	}
	if err != nil {
		return nil, 0, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil {
		return nil, 0, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, 0, errNotPlain
	}
	n, err := file.Retry(func() (int, error) { return unix.Read(fd, buf) })
	if err != nil {
		return nil, 0, err
	}
	return buf[:n], st.Mtim.Nano(), nil
}

// writeAll writes all of text at the head of the file.
func writeAll(fd int, text string) error {
	n, err := file.Retry(func() (int, error) { return unix.Pwrite(fd, []byte(text), 0) })
	if err == nil && n < len(text) {
		err = unix.ENOSPC
	}
	return err
}

// bootTime is when the kernel started, by the clock as it is set now.
func bootTime() (time.Time, error) {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return time.Time{}, fmt.Errorf("read the time since boot: %w", err)
	}
	return time.Now().Add(-time.Duration(up.Nano())), nil
}
