package program_test

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/program"
)

func sh(script string) program.Call {
	return program.Call{Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"WORD=well"}}
}

// TestRun executes programs that read, or do not, and that end in every way.
func TestRun(t *testing.T) {
	t.Parallel()
	large := bytes.Repeat([]byte("x"), 1<<20)
	for _, row := range []struct {
		name, script  string
		stdin         []byte
		printed, told string
	}{
		{"echoes", "cat", []byte("input"), "input", ""},
		{"echoes more than a pipe holds", "cat", large, string(large), ""},
		{"reads nothing", "echo done", nil, "done\n", ""},
		{"does not read what does not fit", "echo done", large, "done\n", ""},
		{"has its environment alone", "echo $WORD $HOME", nil, "well\n", ""},
		{"ends with a code", "echo why; exit 3", nil, "why\n", "exit status 3"},
		{"is killed", "echo why; kill -9 $$", nil, "why\n", "signal: killed"},
		{"leaves its output open to a child", "sleep 0.1 & echo done", nil, "done\n", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			printed, err := sh(row.script).Run(row.stdin)
			var ended program.Ended
			if errors.As(err, &ended); string(printed) != row.printed || string(ended) != row.told || (err == nil) != (row.told == "") {
				t.Errorf("%.60q, %v", printed, err)
			}
		})
	}
}

// TestBoth takes what is said on standard error with the rest.
func TestBoth(t *testing.T) {
	t.Parallel()
	c := sh("echo out; echo err >&2")
	c.Both = true
	if printed, err := c.Run(nil); err != nil || string(printed) != "out\nerr\n" {
		t.Errorf("%q, %v", printed, err)
	}
}

// TestNone is what cannot be executed.
func TestNone(t *testing.T) {
	t.Parallel()
	if _, err := (program.Call{Path: "/nowhere/at/all"}).Run(nil); !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "errno") {
		t.Error(err)
	}
}
