package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/catena-cni/catena/integration/node"
)

// TestAddIsLean counts what the chain of bridge, host-local, portmap with a port, and tuning asks of the kernel for an
// ADD and a DEL: five processes at most, no list of anything, and no helper program.
func TestAddIsLean(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	list, err := node.Load(filepath.Join(examples, "10-kubernetes-node.conflist"), "")
	must(t, err)
	// Another pod has been here before.
	first := node.Attachment{Pod: newPod(t, n, "first"), List: list, IfName: "eth0", Ports: []node.Port{{HostPort: 8081, ContainerPort: 80, Protocol: "tcp"}}}
	r := n.Runtime(nil, plugins)
	_, err = r.Add(first)
	must(t, err)

	traces := t.TempDir()
	shims := t.TempDir()
	for _, plugin := range []string{"bridge", "portmap", "tuning"} {
		script := fmt.Sprintf("#!/bin/sh\nexec strace -f -qq -s 256 -e trace=execve,sendto,sendmsg,socket -o %s/$CNI_COMMAND.%s %s/%s\n", traces, plugin, plugins, plugin)
		must(t, os.WriteFile(filepath.Join(shims, plugin), []byte(script), 0o755))
	}
	must(t, exec.Command("cp", filepath.Join(plugins, "host-local"), shims).Run())
	traced := n.Runtime(nil, shims)
	a := node.Attachment{Pod: newPod(t, n, "p"), List: list, IfName: "eth0", Ports: []node.Port{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}}}
	_, err = traced.Add(a)
	must(t, err)
	must(t, traced.Del(a))

	executed := regexp.MustCompile(`(?m)execve\("([^"]*)".*= 0$`)
	for _, verb := range []string{"ADD", "DEL"} {
		var programs []string
		for _, plugin := range []string{"bridge", "portmap", "tuning"} {
			trace, err := os.ReadFile(filepath.Join(traces, verb+"."+plugin))
			must(t, err)
			for _, m := range executed.FindAllStringSubmatch(string(trace), -1) {
				programs = append(programs, filepath.Base(m[1]))
			}
			for line := range strings.SplitSeq(string(trace), "\n") {
				if strings.Contains(line, "NLM_F_DUMP") || strings.Contains(line, "0x300") && strings.Contains(line, "nlmsg_flags") {
					t.Errorf("%s of %s asks for a list: %s", verb, plugin, line)
				}
			}
			if !strings.Contains(string(trace), "execve(") {
				t.Errorf("the trace of %s %s is empty", plugin, verb)
			}
		}
		if got := strings.Join(programs, " "); len(programs) > 5 || strings.Trim(strings.NewReplacer("bridge", "", "host-local", "", "portmap", "", "tuning", "").Replace(got), " ") != "" {
			t.Errorf("%s executes %s", verb, got)
		}
	}
}
