package kerneltest

import (
	"path"
	"strings"
	"testing"
)

// Prospects are configurations whose STATUS is held against their ADD, each in a
// sandbox of its own: it succeeds where that does, and where it does not it says
// why and leaves everything as it was.
type Prospects struct {
	// Plugins are the folders to Build, that of the plugin first.
	Plugins []string
	// Setup is a shell command that prepares every sandbox.
	Setup string
	Rows  []Prospect
}

// Prospect is one of them.
type Prospect struct {
	// Keys go behind a plugin's smallest configuration.
	Keys string
	// Setup is a shell command that comes after the table's.
	Setup string
	// Words are what STATUS says where ADD fails, separated by bars.
	Words string
}

// Run makes the calls.
func (p Prospects) Run(t *testing.T) {
	t.Helper()
	for _, row := range p.Rows {
		t.Run(row.Keys+row.Setup, func(t *testing.T) { t.Parallel(); p.holds(t, row) })
	}
}

func (p Prospects) holds(t *testing.T, row Prospect) {
	t.Helper()
	c := Call{Bin: Build(t, p.Plugins...), Plugin: path.Base(p.Plugins[0])}
	c.Conf = strings.Replace(Minimal(c.Plugin)(row.Keys), "1.0.0", "1.1.0", 1)
	s := New(t)
	s.Run(p.Setup)
	s.Run(row.Setup)
	// The state of carriers follows in the kernel's own time.
	const look = "{ ip -d link; pod ip -d link; } | sed -E 's/NO-CARRIER,//; s/,LOWER_UP//; s/,M-DOWN//; s/ state [A-Z]+//'"
	before := s.Run(look)
	c.Verb = "STATUS"
	status := s.Call(c)
	s.Same("STATUS", before, s.Run(look))
	c.Verb = "ADD"
	add := s.Call(c)
	switch {
	case add.Exit == 0 && status.Exit != 0:
		t.Errorf("ADD succeeds, and STATUS says %d: %s", status.Code, status.Msg)
	case add.Exit != 0 && status.Exit == 0:
		t.Errorf("STATUS is well, and ADD says %d: %s", add.Code, add.Msg)
	case add.Exit != 0:
		if status.Code != 50 {
			t.Errorf("STATUS has code %d: %s", status.Code, status.Msg)
		}
		for _, w := range strings.Split(row.Words, "|") {
			for verb, msg := range map[string]string{"STATUS": status.Msg, "ADD": add.Msg} {
				if !strings.Contains(msg, w) {
					t.Errorf("%s does not say %q: %s", verb, w, msg)
				}
			}
		}
	}
}
