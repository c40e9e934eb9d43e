package file_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/file"
)

// TestFiles reads what package os has written, and the other way round, in the
// sizes around those of buffers.
func TestFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, size := range []int{0, 1, 511, 512, 513, 4096, 100_000} {
		content := bytes.Repeat([]byte{'x'}, size)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := file.Read(path); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes are read as %d, %v", size, len(got), err)
		}
		if err := file.Write(path, bytes.Repeat([]byte{'y'}, size)); err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, bytes.Repeat([]byte{'y'}, size)) {
			t.Errorf("%d bytes are written as %d, %v", size, len(got), err)
		}
	}
	if got, err := file.Read("/proc/self/status"); err != nil || !bytes.Contains(got, []byte("Pid:")) {
		t.Errorf("a file without a size: %q, %v", got, err)
	}
}

// TestErrors are those of package os.
func TestErrors(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	if _, err := file.Read(missing); !errors.Is(err, fs.ErrNotExist) || err.Error() != "open "+missing+": no such file or directory" {
		t.Error(err)
	}
	if err := file.Write(missing, []byte("x")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := file.Read(dir); !errors.Is(err, unix.EISDIR) {
		t.Error(err)
	}
	fd, err := file.Open(dir, unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := file.WriteTo(fd, dir, []byte("x")); !errors.Is(err, unix.EBADF) {
		t.Error(err)
	}
}
