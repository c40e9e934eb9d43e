package node

import (
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestBounded: a program that hangs is ended with what it has started, and the error says which and where. One that leaves
// another behind, which holds its output, does not keep who waits.
func TestBounded(t *testing.T) {
	before := longest
	longest = 2 * time.Second
	t.Cleanup(func() { longest = before })
	for script, says := range map[string]string{
		"echo so far; sleep 1000 & wait":       "so far",
		"trap '' QUIT; sleep 1000; sleep 1000": "sleep",
		"sleep 1000 & exit 0":                  "holds its output",
	} {
		var printed bytes.Buffer
		cmd := exec.Command("sh", "-c", script)
		cmd.Stdout, cmd.Stderr = &printed, &printed
		err := runBounded(cmd)
		if !errors.Is(err, ErrHung) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), script) {
			t.Errorf("%s: %v", script, err)
		}
	}
	if err := runBounded(exec.Command("true")); err != nil {
		t.Error(err)
	}
	if err := runBounded(exec.Command("false")); err == nil || errors.Is(err, ErrHung) {
		t.Error(err)
	}
}
