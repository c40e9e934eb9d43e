package state

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ReadFile reads a plain file of at most limit bytes, also through links. A pipe
// or a device at its path, which could keep the reader for ever, is an error, and
// so is a larger file.
func ReadFile(path string, limit int64) ([]byte, error) { return read(path, limit, 0) }

// read opens without waiting, as a pipe that nobody writes to would have it.
func read(path string, limit int64, flags int) ([]byte, error) {
	f, err := os.OpenFile(path, unix.O_NONBLOCK|flags, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no plain file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return b, err
}
