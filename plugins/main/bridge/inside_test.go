package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// headMax is how much of a program says of which build it is.
const headMax = 4096

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// builtin are the plugins that are part of bridge.
var builtin = []string{"host-local", "static"}

// folders are two of plugins. In the one the plugins for addresses are those of
// bridge's own build, of which nothing is there but the head: who executes them
// fails. In the other they are programs of somebody else, which note that they
// were executed.
func folders(t *testing.T) (same, other, executed string) {
	built := kerneltest.Build(t, "plugins/main/bridge", "plugins/builtin/host-local", "plugins/ipam/static")
	same, other, executed = t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "executed")
	for _, dir := range []string{same, other} {
		must(t, os.Symlink(filepath.Join(built, "bridge"), filepath.Join(dir, "bridge")))
	}
	for _, name := range builtin {
		program, err := os.ReadFile(filepath.Join(built, name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(same, name), program[:headMax], 0o755))
		script := fmt.Sprintf("#!/bin/sh\necho %s $CNI_COMMAND >>%s\nexec %s \"$@\"\n", name, executed, filepath.Join(built, name))
		must(t, os.WriteFile(filepath.Join(other, name), []byte(script), 0o755))
	}
	return same, other, executed
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

// TestInside: a plugin for addresses that is part of this one does to the letter
// what it does as a program of its own, and is that wherever CNI_PATH has another.
func TestInside(t *testing.T) {
	same, other, executed := folders(t)
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

// TestInsideIsInstalled: what is not in CNI_PATH, or not to be executed, is not
// used either.
func TestInsideIsInstalled(t *testing.T) {
	same, _, _ := folders(t)
	s := kerneltest.New(t)
	c := kerneltest.Call{Bin: same, Plugin: "bridge", Conf: headOfInside + localIPAM + `}}`}
	must(t, os.Chmod(filepath.Join(same, "host-local"), 0o644))
	s.Refuses(c, 103, "host-local", "permission denied")
	must(t, os.Remove(filepath.Join(same, "host-local")))
	s.Refuses(c, 102, "host-local", "there is none")
}
