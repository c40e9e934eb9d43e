package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// buildUpstream builds the peer's host-device from its own module, so that ours
// does not have its dependencies. UPSTREAM_HOST_DEVICE names a built one.
func buildUpstream(t *testing.T, path string) {
	t.Helper()
	if built := os.Getenv("UPSTREAM_HOST_DEVICE"); built != "" {
		if err := os.Symlink(built, path); err != nil {
			t.Fatal(err)
		}
		return
	}
	command := func(args ...string) []byte {
		c := exec.Command(args[0], args[1:]...)
		c.Dir, c.Env = os.TempDir(), append(os.Environ(), "CGO_ENABLED=0")
		out, err := c.Output()
		if err != nil {
			t.Fatalf("upstream's host-device cannot be built here: %v: %v", args, err)
		}
		return out
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(command("go", "mod", "download", "-json", "github.com/containernetworking/plugins@v1.9.1"), &module); err != nil {
		t.Fatal(err)
	}
	command("go", "build", "-C", module.Dir, "-o", path, "./plugins/main/host-device")
}

// TestTurns: upstream's host-device takes home what ours has moved, and ours
// what upstream's has.
func TestTurns(t *testing.T) {
	if testing.Short() {
		t.Skip("builds upstream's host-device")
	}
	w := newWorld(t)
	buildUpstream(t, filepath.Join(w.bin, "upstream"))
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
