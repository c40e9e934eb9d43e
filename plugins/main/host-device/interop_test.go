package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestTurns: upstream's host-device takes home what ours has moved, and ours
// what upstream's has.
func TestTurns(t *testing.T) {
	w := newWorld(t)
	if err := os.Symlink(kerneltest.Upstream(t, "host-device"), filepath.Join(w.bin, "upstream")); err != nil {
		t.Fatal(err)
	}
	theirs := func(verb, keys string) kerneltest.Call {
		c := w.call(verb, keys)
		c.Plugin = "upstream"
		return c
	}

	out := w.Must(w.call("ADD", "")).Stdout
	w.Must(theirs("CHECK", `,"prevResult":`+out))
	w.Must(theirs("DEL", ""))
	if text := w.Run("ip link show up0"); strings.Contains(text, ",UP") || strings.Contains(text, "alias") {
		t.Errorf("upstream brings it home down and without an alias, and did: %s", text)
	}
	// What upstream did not restore ours still knows.
	w.Must(w.call("DEL", ""))
	w.home(t, "upstream's DEL and ours")

	out = w.Must(theirs("ADD", "")).Stdout
	w.Must(w.call("CHECK", `,"prevResult":`+out))
	w.Must(w.call("GC", `,"cni.dev/valid-attachments":[]`)) // what nobody wrote down GC leaves alone
	w.Run("pod ip link show eth0")
	for range 2 {
		w.Must(w.call("DEL", `,"prevResult":`+out))
	}
	if text := w.Run("ip link show up0"); strings.Contains(text, "alias") {
		t.Errorf("the alias is left: %s", text)
	}
}
