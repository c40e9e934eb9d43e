package kernel_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/catena-cni/catena/internal/kernel"
)

// TestNothingThere: paths that provably lead to no namespace.
func TestNothingThere(t *testing.T) {
	dir := t.TempDir()
	file, loop, nowhere := filepath.Join(dir, "file"), filepath.Join(dir, "loop"), filepath.Join(dir, "nowhere")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{loop: loop, nowhere: filepath.Join(dir, "none")} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{file, file + "/below", loop, nowhere, dir, "/dev/zero"} {
		if id, err := kernel.LookNetns(path); err != nil || id != (kernel.NetnsID{}) {
			t.Errorf("%s: %v, %v", path, id, err)
		}
	}
}
