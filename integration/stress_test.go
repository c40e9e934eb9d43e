package integration

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/catena-cni/catena/integration/node"
)

// TestHundredAtOnce attaches a hundred pods at the same time, and detaches them at the same time.
func TestHundredAtOnce(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	before := text(t, n)
	list, err := node.Load(filepath.Join(examples, "10-kubernetes-node.conflist"), "1.1.0")
	must(t, err)
	r := n.Runtime(nil, plugins)
	pods := make([]node.Attachment, 100)
	for i := range pods {
		pods[i] = node.Attachment{Pod: newPod(t, n, fmt.Sprintf("pod-%d", i)), List: list, IfName: "eth0",
			Ports: []node.Port{{HostPort: 8000 + i, ContainerPort: 80, Protocol: "tcp"}}}
	}
	found := make([][]string, len(pods))
	each := func(do func(i int) error) {
		t.Helper()
		began := time.Now()
		errs := make([]error, len(pods))
		var wg sync.WaitGroup
		for i := range pods {
			wg.Go(func() { errs[i] = do(i) })
		}
		wg.Wait()
		must(t, errors.Join(errs...))
		t.Logf("%v for each of %d pods, all at once", time.Since(began)/time.Duration(len(pods)), len(pods))
	}
	each(func(i int) error {
		result, err := r.Add(pods[i])
		if err == nil {
			found[i] = addrs(t, result, "")
		}
		return err
	})
	all := slices.Concat(found...)
	slices.Sort(all)
	if len(slices.Compact(all)) != 2*len(pods) {
		t.Errorf("%d pods have the addresses %q", len(pods), found)
	}
	for _, i := range []int{0, 50, 99} {
		serve(t, &pods[i].Pod.Space, 80)
		seen(t, &n.Outside, "tcp", node.Addr4, 8000+i, node.Outside4)
		seen(t, &n.Outside, "tcp", node.Addr6, 8000+i, node.Outside6)
		must(t, r.Check(pods[i]))
	}
	each(func(i int) error { return r.Del(pods[i]) })
	for _, a := range pods {
		must(t, a.Pod.Remove())
	}
	noneLeft(t, n, before, "cni0")
}

// TestKilled kills the bridge plugin at moments spread over an ADD and expects DEL to clean up and a new ADD to work.
func TestKilled(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	conf := strings.Replace(example(t, "10-mynet.conf"), `"0.2.0"`, `"1.0.0"`, 1)
	p := newPod(t, n, "killed")
	add := func() error {
		_, err := byHand(n, "ADD", "bridge", p.ID, p.Path, "eth0", conf)
		return err
	}
	del := func() error {
		_, err := byHand(n, "DEL", "bridge", p.ID, p.Path, "eth0", conf)
		return err
	}
	before := text(t, n)
	began := time.Now()
	must(t, add())
	took := time.Since(began)
	must(t, del())

	const moments = 20
	for i := range moments {
		cmd := exec.Command(filepath.Join(plugins, "bridge"))
		cmd.Stdin = strings.NewReader(conf)
		cmd.Env = append(cmd.Environ(), "CNI_COMMAND=ADD", "CNI_CONTAINERID="+p.ID, "CNI_NETNS="+p.Path, "CNI_IFNAME=eth0", "CNI_PATH="+plugins)
		must(t, n.Start(cmd))
		time.Sleep(took * time.Duration(i) / moments)
		cmd.Process.Kill()
		cmd.Wait()
		if err := del(); err != nil {
			t.Errorf("DEL after %d/%d of an ADD: %v", i, moments, err)
		}
		noneLeft(t, n, before, "cni0")
		if out, err := p.Run("ip", "-o", "link", "show"); err != nil || strings.Count(out, "\n") != 1 {
			t.Errorf("after %d/%d of an ADD and DEL the pod has %v\n%s", i, moments, err, out)
		}
	}
	must(t, add())
	must(t, p.Ping("10.22.0.1"))
	must(t, del())
}
