package lease

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	s, dir := aNetwork(t)
	pair := sets(t, "10.0.0.8/31")
	must(t, s.Status(pair))
	if _, err := os.Stat(dir); err == nil {
		t.Error("STATUS made the folder")
	}
	for _, id := range []string{"a", "b"} {
		must(t, s.Status(pair))
		mustAdd(t, s, Request{Owner: own(id), Netns: "/proc/self/ns/net", Sets: pair})
	}
	wantErr(t, s.Status(pair), ErrFull, "10.0.0.8-10.0.0.9")
	must(t, s.Status(sets(t, "10.0.1.0/24")))
	must(t, os.Truncate(filepath.Join(dir, "10.0.0.9"), 0))
	must(t, s.Status(pair))

	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	inFile, _ := networkIn(t, file)
	wantErr(t, inFile.Status(pair), unix.ENOTDIR)
}
