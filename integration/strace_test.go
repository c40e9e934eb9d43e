package integration

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/catena-cni/catena/integration/node"
	"github.com/catena-cni/catena/integration/strace"
)

// TestAddIsLean counts what the chain of bridge, host-local, portmap with a port, and tuning asks of the kernel for an
// ADD and a DEL: no program is executed but the three of the list, as host-local is a part of bridge, and no list of
// anything is asked for. As the doings of the whole test program are counted, it runs beside no other test.
func TestAddIsLean(t *testing.T) {
	n := newNode(t)
	list, err := node.Load(filepath.Join(examples, "10-kubernetes-node.conflist"), "")
	must(t, err)
	r := n.Runtime(nil, plugins)
	pod := func(id string, port int) node.Attachment {
		return node.Attachment{Pod: newPod(t, n, id), List: list, IfName: "eth0", Ports: []node.Port{{HostPort: port, ContainerPort: 80, Protocol: "tcp"}}}
	}
	// Another pod has been here before.
	_, err = r.Add(pod("first", 8081))
	must(t, err)

	a := pod("p", 8080)
	lean(t, "ADD", func() error { _, err := r.Add(a); return err })
	lean(t, "DEL", func() error { return r.Del(a) })
}

func lean(t *testing.T, verb string, do func() error) {
	t.Helper()
	calls, err := strace.Record(do)
	must(t, err)
	if want := []string{"bridge", "portmap", "tuning"}; !slices.Equal(calls.Programs, want) {
		t.Errorf("%s executes %v, not %v", verb, calls.Programs, want)
	}
	if n := calls.Dumps(); n > 0 {
		t.Errorf("%s asks for %d lists: %+v", verb, n, calls.Requests)
	}
	if calls.RTNL() == 0 || calls.Nftables() == 0 {
		t.Errorf("%s has asked the kernel for nothing, as far as strace shows: %+v", verb, calls.Requests)
	}
}
