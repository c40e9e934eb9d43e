package integration

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/integration/node"
)

// TestSticky makes a pod anew, as a kubelet does: in another container, under the same name. It has its addresses again,
// although others came between, and is reached there; nobody has one that is excluded.
func TestSticky(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	list, err := node.Load(filepath.Join(examples, "10-kubernetes-sticky.conflist"), "1.1.0")
	must(t, err)
	r := n.Runtime(nil, plugins)
	pod := func(id, name string) (node.Attachment, []string) {
		a := node.Attachment{Pod: newPod(t, n, id), List: list, IfName: "eth0", Args: [][2]string{
			{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "shop"}, {"K8S_POD_NAME", name}, {"K8S_POD_INFRA_CONTAINER_ID", id}}}
		result, err := r.Add(a)
		must(t, err)
		got := addrs(t, result, "")
		if len(got) != 2 || strings.HasSuffix(got[0], ".2") || strings.HasSuffix(got[0], ".3") || strings.HasSuffix(got[1], "::2") || strings.HasSuffix(got[1], "::3") {
			t.Errorf("%s has %q", name, got)
		}
		return a, got
	}
	a1, had := pod("a1", "web-0")
	b, _ := pod("b", "web-1")
	must(t, r.Del(a1))
	must(t, a1.Pod.Remove())
	c, _ := pod("c", "job-1")
	a2, has := pod("a2", "web-0")
	if strings.Join(has, " ") != strings.Join(had, " ") {
		t.Errorf("web-0 had %q, and has %q", had, has)
	}
	must(t, r.Check(a2))
	for _, addr := range had {
		must(t, b.Pod.Ping(addr))
	}
	for _, a := range []node.Attachment{a2, b, c} {
		must(t, r.Del(a))
		must(t, a.Pod.Remove())
	}
}
