package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/integration/node"
)

// interruptible are the system calls of plugins that a signal can end, somewhere: in a wait, for a lock, or on a file
// system of another process's. sendto and recvfrom are not among them: plugins make both on netlink sockets of
// vishvananda/netlink alone, which do not block (the Go runtime's poller waits), and the kernel has no EINTR for them.
var interruptible = strings.Join([]string{
	"sendmsg", "recvmsg", "connect", "read", "write", "pwrite64", "openat", "flock", "ioctl", "getsockopt", "wait4", "linkat",
	"unlinkat", "symlinkat", "renameat", "mkdirat", "newfstatat", "fstat", "readlinkat", "statfs", "fstatfs", "getdents64", "ftruncate", "faccessat",
}, ",")

// TestInterrupted: every second system call of the plugins is ended by a signal, and all is as ever.
func TestInterrupted(t *testing.T) {
	list, err := node.Parse([]byte(`{"cniVersion":"1.1.0","name":"n","plugins":[
		{"type":"bridge","bridge":"br0","isGateway":true,"ipMasq":true,"ipam":{"type":"host-local","subnet":"10.1.0.0/24","routes":[{"dst":"0.0.0.0/0"}]}},
		{"type":"portmap","capabilities":{"portMappings":true}},
		{"type":"firewall"},
		{"type":"tuning","mac":"02:00:00:00:11:22","promisc":true,"sysctl":{"net.core.somaxconn":"1000"}},
		{"type":"sbr"}]}`), "")
	must(t, err)
	for _, when := range []string{"1+2", "2+2"} {
		t.Run(when, func(t *testing.T) {
			n := newNode(t)
			pod := newPod(t, n, "p")
			before := text(t, n)
			wrapped, traces := t.TempDir(), t.TempDir()
			for _, p := range list.Plugins {
				script := fmt.Sprintf("#!/bin/sh\nexec strace -f -qq -o %s/$$ -e trace=%s -e inject=%[2]s:error=EINTR:when=%s %s\n",
					traces, interruptible, when, filepath.Join(plugins, p.Network.Type))
				must(t, os.WriteFile(filepath.Join(wrapped, p.Network.Type), []byte(script), 0o700))
			}
			// IPAM's plugin is traced with the one that executes it.
			r := n.Runtime(nil, wrapped, plugins)
			a := node.Attachment{Pod: pod, List: list, IfName: "eth0", Ports: []node.Port{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}}}
			must(t, r.Status(list))
			_, err := r.Add(a)
			must(t, err)
			must(t, r.Check(a))
			serve(t, &pod.Space, 80)
			seen(t, &n.Outside, "tcp", node.Addr4, 8080, node.Outside4)
			must(t, r.GC(list, a))
			must(t, r.Check(a))
			must(t, r.Del(a))
			noneLeft(t, n, before, "br0")
			injected := 0
			files, err := filepath.Glob(traces + "/*")
			must(t, err)
			for _, file := range files {
				trace, err := os.ReadFile(file)
				must(t, err)
				injected += strings.Count(string(trace), "(INJECTED)")
			}
			if injected < 100 {
				t.Errorf("only %d calls were interrupted", injected)
			}
		})
	}
}
