package kerneltest

import (
	"fmt"
	"slices"
	"testing"
)

// Again is a chained plugin that is told to ADD an attachment again, for which
// nobody said DEL: the last ADD counts, as if the first had never been.
type Again struct {
	Bin, Plugin string
	// Conf is a configuration with some keys more, each after a comma.
	Conf func(keys string) string
	// Setup is what the plugins before it have made, in a new pod too.
	Setup func(*Sandbox)
	// Look is a shell command that shows what the plugin makes.
	Look string
	// Keys are configurations of which each comes after itself, and the next one
	// after it.
	Keys []string
	// Renewed says that what the first ADD alone had made is taken back at once,
	// and not by DEL.
	Renewed bool
	// Programs is the PATH of the plugin.
	Programs string
}

// Run tries the pairs, in the same namespace and in a new one.
func (a Again) Run(t *testing.T) {
	NeedsTime(t)
	for i, first := range a.Keys {
		for _, j := range []int{i, (i + 1) % len(a.Keys)} {
			t.Run(fmt.Sprintf("%d, %d", i, j), func(t *testing.T) { t.Parallel(); a.pair(t, first, a.Keys[j]) })
		}
	}
}

func (a Again) pair(t *testing.T, first, second string) {
	s := New(t)
	a.Setup(s)
	call := func(verb, keys string) Call {
		return Call{Bin: a.Bin, Plugin: a.Plugin, Verb: verb, Conf: a.Conf(keys), Programs: a.Programs}
	}
	for _, keys := range slices.Repeat(a.Keys, 2) { // what is shared stays
		s.Must(call("ADD", keys))
		s.Must(call("DEL", keys))
	}
	before, nothing := s.Text(), s.Run(a.Look)
	s.Must(call("ADD", second))
	whole := s.Run(a.Look)
	s.Must(call("DEL", second))
	s.Same("DEL", before, s.Text())

	s.Must(call("ADD", first))
	s.Must(call("ADD", second))
	if a.Renewed || first == second {
		s.Same("the second ADD", whole, s.Run(a.Look))
	}
	s.Must(call("CHECK", second))
	for range 2 {
		s.Must(call("DEL", second))
		s.Same("DEL after two ADDs", before+nothing, s.Text()+s.Run(a.Look))
	}

	s.Must(call("ADD", first))
	s.Run(`for l in $(pod ip -o link show type veth | sed 's/^[0-9]*: \([^@:]*\).*/\1/'); do pod ip link del $l; done; umount -l "$POD"; rm "$POD"`)
	s.NewPod(s.Pod)
	a.Setup(s)
	s.Must(call("ADD", second))
	s.Same("the second ADD, in a new namespace", whole, s.Run(a.Look))
	s.Must(call("CHECK", second))
	s.Must(call("DEL", second))
	s.Same("DEL in the new namespace", nothing, s.Run(a.Look))
}
