package kerneltest

import (
	"path"
	"strings"
	"testing"
)

// Refusals are calls that a plugin must refuse, each in a sandbox of its own:
// with the right code, with a message that helps, and with nothing changed.
type Refusals struct {
	// Plugins are the folders to Build, that of the plugin first.
	Plugins []string
	// Conf makes a whole configuration of a row's. Where it is nil, it is whole.
	Conf func(row string) string
	// Setup is a shell command that prepares every sandbox.
	Setup string
	// Look is a shell command that shows what Sandbox.Text does not.
	Look string
	Rows []Refusal
}

// Refusal is one of them.
type Refusal struct {
	Name string
	Conf string
	// Verb, Args, IfName and Netns are those of the Call.
	Verb, Args, IfName, Netns string
	// Setup is a shell command that comes after the table's.
	Setup string
	// Needs are features of the kernel.
	Needs []string
	// Code is the error's.
	Code uint
	// Words are what its message says, separated by bars.
	Words string
}

// Minimal adds keys, each behind a comma, to a plugin's smallest configuration.
func Minimal(plugin string) func(keys string) string {
	return func(keys string) string {
		return `{"cniVersion":"1.0.0","name":"n","type":"` + plugin + `"` + keys + `}`
	}
}

// Run makes the calls.
func (r Refusals) Run(t *testing.T) {
	t.Helper()
	for _, row := range r.Rows {
		t.Run(row.Name, func(t *testing.T) { t.Parallel(); r.refused(t, row) })
	}
}

func (r Refusals) refused(t *testing.T, row Refusal) {
	t.Helper()
	if row.Needs != nil {
		Needs(t, row.Needs...)
	}
	c := Call{
		Bin: Build(t, r.Plugins...), Plugin: path.Base(r.Plugins[0]), Verb: row.Verb,
		IfName: row.IfName, Netns: row.Netns, Args: row.Args, Conf: row.Conf,
	}
	if r.Conf != nil {
		c.Conf = r.Conf(row.Conf)
	}
	s := New(t)
	s.Run(r.Setup)
	s.Run(row.Setup)
	before := s.Run(r.Look)
	s.Refuses(c, row.Code, strings.Split(row.Words, "|")...)
	s.Same("a refused call", before, s.Run(r.Look))
}
