package program_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/program"
)

// TestSameBuild holds what is taken for a program of the same build.
func TestSameBuild(t *testing.T) {
	const build = "5f1d5f1d5f1d5f1d"
	dir := t.TempDir()
	for _, row := range []struct {
		name, build, content string
		mode                 os.FileMode
		same                 bool
	}{
		{"same", build, "\x7fELF" + build + "code", 0o755, true},
		{"for its owner alone", build, build, 0o100, true},
		{"another", build, "\x7fELF5f1d5f1d5f1d5f1ecode", 0o755, false},
		{"not to be executed", build, build, 0o644, false},
		{"too far in", build, strings.Repeat("x", 4096) + build, 0o755, false},
		{"empty", build, "", 0o755, false},
		{"of no known build", "", "\x7fELFcode", 0o755, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(dir, row.name)
			if err := os.WriteFile(path, []byte(row.content), row.mode); err != nil {
				t.Fatal(err)
			}
			program.Build = row.build
			defer func() { program.Build = "" }()
			if got := program.SameBuild(path); got != row.same {
				t.Errorf("%t, want %t", got, row.same)
			}
			if program.SameBuild(filepath.Join(dir, "missing")) || program.SameBuild(dir) {
				t.Error("what is no file is taken for a program")
			}
		})
	}
}
