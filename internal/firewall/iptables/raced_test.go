package iptables

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// programs is the PATH of plugins in tests, without what is in an older one.
const programs = "/usr/sbin:/usr/bin:/sbin:/bin"

// confs are plugins with this backend, behind one that has made an interface.
var confs = map[string]string{
	"portmap":  `"runtimeConfig":{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}]}`,
	"firewall": `"ingressPolicy":"isolated"`,
}

func confOf(plugin, pod string, address int) string {
	return fmt.Sprintf(`{"cniVersion":"1.0.0","name":"net1","type":%q,"backend":"iptables",%s,"prevResult":{"cniVersion":"1.0.0",`+
		`"interfaces":[{"name":"br0"},{"name":"host0"},{"name":"eth0","sandbox":%q}],"ips":[{"address":"10.1.2.%d/24","interface":2}]}}`, plugin, confs[plugin], pod, address)
}

// TestOneWinner: of eight pods that want one port at the same time exactly one gets
// it, whenever the others leave.
func TestOneWinner(t *testing.T) {
	kerneltest.NeedsTime(t)
	t.Parallel()
	bin := kerneltest.Build(t, "plugins/meta/portmap")
	s := kerneltest.New(t)
	s.Run(builtinChains)
	before := s.Run(look)
	for round := range 12 {
		var running []*kerneltest.Running
		call := func(verb string, i int) kerneltest.Call {
			return kerneltest.Call{Bin: bin, Plugin: "portmap", Verb: verb, ContainerID: fmt.Sprint("c", i), Conf: confOf("portmap", s.Pod, i+2), Programs: programs}
		}
		for i := range 8 {
			running = append(running, s.Begin(call("ADD", i)))
		}
		winner := -1
		for i, r := range running {
			a := r.Wait()
			switch {
			case a.Exit == 0 && winner < 0:
				winner = i
			case a.Exit == 0:
				t.Errorf("round %d: c%d and c%d have the port", round, winner, i)
			case a.Code != 101 || !strings.Contains(a.Msg, "is held by net1/c"):
				t.Errorf("round %d: c%d: %d %s", round, i, a.Code, a.Msg)
			}
			running[i] = nil
			if a.Exit != 0 {
				running[i] = s.Begin(call("DEL", i)) // as a runtime does at once
			}
		}
		if winner < 0 {
			t.Errorf("round %d: nobody has the port", round)
			continue
		}
		for i, r := range running {
			if r == nil {
				continue
			}
			if a := r.Wait(); a.Exit != 0 {
				t.Errorf("round %d: DEL of c%d: %s", round, i, a.Msg)
			}
		}
		s.Must(call("CHECK", winner))
		s.Must(call("DEL", winner))
		s.Same(fmt.Sprint("round ", round), before, s.Run(look))
	}
}

// TestKilledAnywhere: a plugin that is killed before any of the programs that it
// executes leaves nothing that its next DEL does not find, be it in ADD or in DEL.
func TestKilledAnywhere(t *testing.T) {
	kerneltest.NeedsTime(t)
	for plugin := range confs {
		for _, verb := range []string{"ADD", "DEL"} {
			t.Run(plugin+" "+verb, func(t *testing.T) { t.Parallel(); killedAnywhere(t, plugin, verb) })
		}
	}
}

func killedAnywhere(t *testing.T, plugin, verb string) {
	bin := kerneltest.Build(t, "plugins/meta/portmap", "plugins/meta/firewall")
	s := kerneltest.New(t)
	s.Run(builtinChains)
	// Programs that kill who executes the N-th of them.
	dir := t.TempDir()
	for _, program := range []string{"iptables", "ip6tables"} {
		script := fmt.Sprintf(`#!/bin/sh
read -r left < %[1]s/left
echo $((left - 1)) > %[1]s/left
[ "$left" = 1 ] && { kill -9 $PPID; exit 1; }
exec /usr/sbin/%[2]s "$@"
`, dir, program)
		for _, kind := range []string{"", "-nft"} {
			if err := os.WriteFile(filepath.Join(dir, program+kind), []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	call := func(verb, programs string) kerneltest.Call {
		return kerneltest.Call{Bin: bin, Plugin: plugin, Verb: verb, Conf: confOf(plugin, s.Pod, 2), Programs: programs}
	}
	s.Must(call("ADD", programs))
	s.Must(call("DEL", programs))
	before := s.Run(look) + s.Text()
	n := 1
	for ; ; n++ {
		if verb == "DEL" {
			s.Must(call("ADD", programs))
		}
		s.Run(fmt.Sprintf("echo %d > %s/left", n, dir))
		r := s.Begin(call(verb, dir))
		killed := r.Killed()
		s.Must(call("DEL", programs))
		s.Same(fmt.Sprintf("DEL after a %s that was killed before its program number %d", verb, n), before, s.Run(look)+s.Text())
		if !killed {
			break
		}
	}
	if n < 5 {
		t.Errorf("it was killed %d times only", n-1)
	}
}
