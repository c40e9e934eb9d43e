package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bundled are the plugins that are part of bridge.
var bundled = []string{"host-local", "static"}

// committed builds bridge and the plugins that are part of it from the sources as
// they are, as those of one commit: another build has no name to be known by.
func committed(t *testing.T) (bin, sources string) {
	t.Helper()
	bin, sources = t.TempDir(), t.TempDir()
	shell(t, "../../..", `git ls-files -co --exclude-standard -z | while IFS= read -rd '' f; do
			[ ! -e "$f" ] || cp --parents "$f" '`+sources+`'
		done
		cd '`+sources+`' && git init -q && git add -A && git -c user.name=t -c user.email=t@example.org commit -qm x`)
	shell(t, sources, fmt.Sprintf(build, bin))
	return bin, sources
}

const build = "CGO_ENABLED=0 go build -trimpath -buildvcs=true -ldflags '-s -w' -o %s ./plugins/main/bridge ./plugins/ipam/host-local ./plugins/ipam/static"

func shell(t *testing.T, dir, script string) {
	t.Helper()
	c := exec.Command("bash", "-ec", script)
	c.Dir = dir
	// git refuses in the folder of another user unless it is told.
	c.Env = append(os.Environ(), "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// folders are two of plugins. In the one the plugins for addresses are those of
// bridge's own build, but cannot begin: who executes them fails. In the other they
// are programs of somebody else, which note that they were executed.
func folders(t *testing.T, built string) (same, other, executed string) {
	same, other, executed = t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "executed")
	for _, dir := range []string{same, other} {
		must(t, os.Symlink(filepath.Join(built, "bridge"), filepath.Join(dir, "bridge")))
	}
	for _, name := range bundled {
		program, err := os.ReadFile(filepath.Join(built, name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(same, name), withoutEntry(program), 0o755))
		script := fmt.Sprintf("#!/bin/sh\necho %s $CNI_COMMAND >>%s\nexec %s \"$@\"\n", name, executed, filepath.Join(built, name))
		must(t, os.WriteFile(filepath.Join(other, name), []byte(script), 0o755))
	}
	return same, other, executed
}

// withoutEntry is a program whose first instruction is nowhere (elf(5), e_entry).
func withoutEntry(program []byte) []byte {
	clear(program[24:32])
	return program
}

const (
	headOfInside = `{"cniVersion":"1.1.0","name":"n","type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":true,`
	localIPAM    = `"ipam":{"type":"host-local","ranges":[[{"subnet":"10.1.2.0/30"}]],"routes":[{"dst":"0.0.0.0/0"}]`
	staticIPAM   = `"ipam":{"type":"static","addresses":[{"address":"10.1.2.3/24","gateway":"10.1.2.1"}]`
)

// calls are what a runtime asks for, one after the other. PREV stands for the
// result of the last ADD.
var calls = []kerneltest.Call{
	{Verb: "STATUS", Conf: headOfInside + localIPAM + `}}`},
	{Verb: "ADD", Conf: headOfInside + localIPAM + `,"gatewy":"10.1.2.1"}}`}, // warns
	{Verb: "ADD", Conf: headOfInside + `"strict":true,` + localIPAM + `,"gatewy":"10.1.2.1"}}`, ContainerID: "c2"},
	{Verb: "CHECK", Conf: headOfInside + localIPAM + `},"prevResult":PREV}`},
	{Verb: "ADD", Conf: headOfInside + localIPAM + `}}`}, // is there
	{Verb: "ADD", Conf: headOfInside + localIPAM + `}}`, ContainerID: "full", IfName: "eth1"},
	{Verb: "STATUS", Conf: headOfInside + localIPAM + `}}`},
	{Verb: "ADD", Conf: headOfInside + `"ipam":{"type":"host-local"}}`, ContainerID: "c2", IfName: "eth1"},
	{Verb: "ADD", Conf: headOfInside + `"ipam":{"type":"host-local","subnet":"10.1.2.0"}}`, ContainerID: "c2", IfName: "eth1"},
	{Verb: "ADD", Conf: headOfInside + localIPAM + `}}`, ContainerID: "c2", IfName: "eth1", Args: "IP=10.9.9.9"},
	{Verb: "GC", Conf: headOfInside + localIPAM + `},"cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}]}`},
	{Verb: "GC", Conf: headOfInside + localIPAM + `},"cni.dev/valid-attachments":[]}`},
	{Verb: "CHECK", Conf: headOfInside + localIPAM + `},"prevResult":PREV}`},
	{Verb: "DEL", Conf: headOfInside + localIPAM + `}}`},
	{Verb: "DEL", Conf: headOfInside + localIPAM + `,"ranges":7}}`},
	{Verb: "ADD", Conf: headOfInside + staticIPAM + `}}`},
	{Verb: "CHECK", Conf: headOfInside + staticIPAM + `},"prevResult":PREV}`},
	{Verb: "ADD", Conf: headOfInside + `"ipam":{"type":"static"}}`, ContainerID: "c2", IfName: "eth1"},
	{Verb: "DEL", Conf: headOfInside + staticIPAM + `}}`},
}

// leases shows what host-local has on disk.
const leases = "mkdir -p /var/lib/cni/networks/n && cd /var/lib/cni/networks/n && head -n 9 $(find . -type f ! -path './.*/*') /dev/null | tr -d '\\r'"

// anyMAC finds hardware addresses: that of a bridge is chance.
var anyMAC = regexp.MustCompile(`([0-9a-f]{2}:){5}[0-9a-f]{2}`)

// history is all that comes of the calls, on a host of its own.
func history(t *testing.T, bin string) (told []string) {
	s := kerneltest.New(t)
	prev := "null"
	for _, c := range calls {
		c.Bin, c.Plugin, c.Conf = bin, "bridge", strings.ReplaceAll(c.Conf, "PREV", prev)
		a := s.Call(c)
		if c.Verb == "ADD" && a.Exit == 0 {
			prev = a.Stdout
		}
		text := fmt.Sprintf("%s %s: %d %q %s\n%s", c.Verb, c.ContainerID, a.Code, a.Details, a.Stdout+a.Stderr, s.Run(leases))
		told = append(told, anyMAC.ReplaceAllString(strings.NewReplacer(s.Pod, "POD", bin, "BIN").Replace(text), "MAC"))
	}
	return told
}

// TestInside is about the plugins for addresses that are part of this one.
func TestInside(t *testing.T) {
	kerneltest.NeedsTime(t)
	bin, sources := committed(t)
	t.Run("the same", func(t *testing.T) { theSame(t, bin) })
	t.Run("installed", func(t *testing.T) { installed(t, bin) })
	t.Run("other builds", func(t *testing.T) { otherBuilds(t, bin, sources) })
}

// theSame: such a plugin does to the letter what it does as a program of its own,
// and is that wherever CNI_PATH has another.
func theSame(t *testing.T, bin string) {
	same, other, executed := folders(t, bin)
	within, apart := history(t, same), history(t, other)
	for i, c := range calls {
		if within[i] != apart[i] {
			t.Errorf("%s %s %s\nwithin: %s\napart: %s", c.Verb, c.Conf, c.Args, within[i], apart[i])
		}
	}
	text, err := os.ReadFile(executed)
	must(t, err)
	for _, want := range []string{"host-local STATUS\nhost-local ADD\n", "host-local CHECK\n", "host-local GC\n", "host-local DEL\n", "static ADD\nstatic CHECK\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q was not executed: %s", want, text)
		}
	}
}

// installed: what is not in CNI_PATH, or not to be executed, is not
// used either.
func installed(t *testing.T, bin string) {
	same, _, _ := folders(t, bin)
	s := kerneltest.New(t)
	c := kerneltest.Call{Bin: same, Plugin: "bridge", Conf: headOfInside + localIPAM + `}}`}
	must(t, os.Chmod(filepath.Join(same, "host-local"), 0o644))
	s.Refuses(c, 103, "host-local", "permission denied")
	must(t, os.Remove(filepath.Join(same, "host-local")))
	s.Refuses(c, 102, "host-local", "there is none")
}

// otherBuilds: a program of changed sources, or of another commit's, is
// executed: bridge does not know what it would do.
func otherBuilds(t *testing.T, bin, sources string) {
	changed, later := t.TempDir(), t.TempDir()
	shell(t, sources, "echo >>README.md; "+fmt.Sprintf(build, changed))
	shell(t, sources, "git -c user.name=t -c user.email=t@example.org commit -qam y; "+fmt.Sprintf(build, later))
	for what, folders := range map[string][2]string{"changed sources": {changed, changed}, "another commit": {bin, later}} {
		mixed := t.TempDir()
		must(t, os.Symlink(filepath.Join(folders[0], "bridge"), filepath.Join(mixed, "bridge")))
		program, err := os.ReadFile(filepath.Join(folders[1], "host-local"))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(mixed, "host-local"), withoutEntry(program), 0o755))
		a := kerneltest.New(t).Call(kerneltest.Call{Bin: mixed, Plugin: "bridge", Verb: "ADD", Conf: headOfInside + localIPAM + `}}`})
		if a.Exit == 0 || !strings.Contains(a.Msg, "signal") {
			t.Errorf("%s: host-local was not executed: %d %s", what, a.Exit, a.Msg)
		}
	}
}
