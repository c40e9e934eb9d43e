package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// world is a sandbox with flanneld's lease, the built plugins, and a home-made
// one to delegate to, which writes down what it was given.
type world struct {
	*kerneltest.Sandbox
	t   *testing.T
	bin string
	dir string
}

// homeMade answers a verb with the file of its name. Where there is a file
// VERB.fails, it fails with that.
const homeMade = `#!/bin/sh
/bin/echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $CNI_NETNS" >> %[1]s/calls
/bin/cat > %[1]s/"$CNI_COMMAND".stdin
[ -e %[1]s/"$CNI_COMMAND".fails ] && { /bin/cat %[1]s/"$CNI_COMMAND".fails; exit 1; }
[ "$CNI_COMMAND" = ADD ] && /bin/cat %[1]s/result
exit 0
`

const (
	subnetEnv = "/run/flannel/subnet.env"
	stateDir  = "/var/lib/cni/flannel/"
	madeHere  = `{"cniVersion":"0.4.0","interfaces":[{"name":"eth0","sandbox":"/x"}],"ips":[{"version":"4","address":"192.168.22.140/26","interface":0}]}`
)

func newWorld(t *testing.T) world {
	t.Helper()
	t.Parallel()
	built := kerneltest.Build(t, "plugins/meta/flannel", "plugins/main/bridge", "plugins/ipam/host-local")
	w := world{kerneltest.New(t), t, t.TempDir(), t.TempDir()}
	for _, name := range []string{"flannel", "bridge", "host-local"} {
		if err := os.Symlink(filepath.Join(built, name), filepath.Join(w.bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	w.write(filepath.Join(w.bin, "home-made"), fmt.Sprintf(homeMade, w.dir))
	w.write(filepath.Join(w.dir, "result"), madeHere)
	w.lease(dual)
	return w
}

func (w world) write(file, text string) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		w.t.Fatal(err)
	}
}

func (w world) lease(text string) { w.t.Helper(); w.write(subnetEnv, text) }

// network is a configuration for the network n with more keys, each behind a comma.
func network(keys string) string {
	return `{"cniVersion":"1.1.0","name":"n","type":"flannel"` + keys + `}`
}

const byHomeMade = `,"delegate":{"type":"home-made","some":"thing"}`

func prev(result string) string { return `,"prevResult":` + result }

func (w world) flannel(verb, conf string) kerneltest.Call {
	return kerneltest.Call{Bin: w.bin, Plugin: "flannel", Verb: verb, Conf: conf}
}

// calls are those of the home-made plugin since they were asked for.
func (w world) calls() string {
	b, _ := os.ReadFile(filepath.Join(w.dir, "calls"))
	_ = os.Remove(filepath.Join(w.dir, "calls"))
	text := strings.ReplaceAll(string(b), w.Pod, "POD")
	return strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", ", ")
}

func (w world) called(want string) {
	w.t.Helper()
	if got := w.calls(); got != want {
		w.t.Errorf("home-made was called for %q, not %q", got, want)
	}
}

// given is what the home-made plugin was last given for a verb.
func (w world) given(verb string) (conf map[string]any) {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, verb+".stdin"))
	if err == nil {
		err = json.Unmarshal(b, &conf)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return conf
}

// fails makes the home-made plugin fail at a verb until it is told not to.
func (w world) fails(verb, answer string) (recover func()) {
	file := filepath.Join(w.dir, verb+".fails")
	w.write(file, answer)
	return func() { _ = os.Remove(file) }
}

// state lists the files in flannel's folder.
func (w world) state() string {
	w.t.Helper()
	return strings.Join(strings.Fields(w.Run("ls -A "+stateDir+" 2>/dev/null; true")), " ")
}

func (w world) keeps(want string) {
	w.t.Helper()
	if got := w.state(); got != want {
		w.t.Errorf("%s has %q, not %q", stateDir, got, want)
	}
}
