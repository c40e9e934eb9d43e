package program

import (
	"bytes"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/file"
)

// Build names what this program was built of: all of its suite's code, and the
// options of the build. build_linux.sh stamps it, and has the linker write it
// into the head of every program's file, as its build id. Empty is unknown.
var Build string

// headMax is where a Go program's file has its build id: behind the headers, in
// the first page (cmd/link, elf.go).
const headMax = 4096

// SameBuild reports whether a file is a program of the build that this one is
// of, and may be executed.
func SameBuild(path string) bool {
	if Build == "" {
		return false
	}
	fd, err := file.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if file.Again(func() error { return unix.Fstat(fd, &st) }) != nil || st.Mode&0o111 == 0 {
		return false
	}
	var head [headMax]byte
	n, _ := file.Retry(func() (int, error) { return unix.Read(fd, head[:]) })
	return bytes.Contains(head[:max(n, 0)], []byte(Build))
}
