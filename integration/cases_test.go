package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/catena-cni/catena/integration/node"
	"github.com/containernetworking/cni/libcni"
)

// TestOldestForm is a bridge and a loopback of version 0.2.0, one plugin in each file, as the classic guides have them.
func TestOldestForm(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	before := text(t, n)
	r := n.Runtime(nil, plugins)
	p := newPod(t, n, "oldest")
	var all []node.Attachment
	for i, file := range []string{"10-mynet.conf", "99-loopback.conf"} {
		list, err := node.Load(filepath.Join(examples, file), "")
		must(t, err)
		a := node.Attachment{Pod: p, List: list, IfName: []string{"eth0", "lo"}[i]}
		_, err = r.Add(a)
		must(t, err)
		all = append(all, a)
	}
	must(t, p.Ping("10.22.0.1"))
	must(t, p.Ping("127.0.0.1"))
	must(t, p.Ping("::1"))
	for i := len(all) - 1; i >= 0; i-- {
		must(t, r.Del(all[i]))
		must(t, r.Del(all[i]))
	}
	must(t, p.Remove())
	noneLeft(t, n, before, "cni0")
}

// TestOldestFormVariants are the forms of the two files that some guides have.
func TestOldestFormVariants(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, plugin, conf, has string }{
		{"bridge without a version", "bridge", strings.Replace(example(t, "10-mynet.conf"), `"cniVersion":"0.2.0",`, "", 1), `"ip": "10.22.0.2/16"`},
		{"loopback with nothing but a type", "loopback", example(t, "99-loopback-noname.conf"), ""},
		{"loopback without a name", "loopback", `{"cniVersion":"0.2.0","type":"loopback"}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			p := newPod(t, n, "variant")
			ifname := map[string]string{"bridge": "eth0", "loopback": "lo"}[c.plugin]
			out, err := byHand(n, "ADD", c.plugin, p.ID, p.Path, ifname, c.conf)
			must(t, err)
			if !strings.Contains(strings.ReplaceAll(out, `":"`, `": "`), c.has) {
				t.Errorf("the result has no %s: %s", c.has, out)
			}
			if out, err := p.Run("ip", "-o", "link", "show", "dev", ifname, "up"); err != nil || out == "" {
				t.Errorf("%s is not up: %v", ifname, err)
			}
			_, err = byHand(n, "DEL", c.plugin, p.ID, p.Path, ifname, c.conf)
			must(t, err)
		})
	}
}

// TestMissingName: only a loopback may go without a name.
func TestMissingName(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	p := newPod(t, n, "noname")
	out, err := byHand(n, "ADD", "bridge", p.ID, p.Path, "eth0", strings.Replace(example(t, "10-mynet.conf"), `"name":"mynet",`, "", 1))
	if err == nil || !regexp.MustCompile(`"code": ?7\b`).MatchString(out) {
		t.Errorf("a bridge without a name: %v: %s", err, out)
	}
}

// TestByHand goes through the guides' steps in a shell and looks at all that they look at.
func TestByHand(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	before := text(t, n)
	conf := example(t, "10-mynet.conf")
	neighbour := newPod(t, n, "neighbour")
	_, err := byHand(n, "ADD", "bridge", neighbour.ID, neighbour.Path, "eth0", conf)
	must(t, err)

	// The path is the one of the guides; /var/run is where /run used to be.
	p := newPod(t, n, "12345678")
	netns := "/var/run/netns/12345678"
	out, err := byHand(n, "ADD", "bridge", p.ID, netns, "eth0", conf)
	must(t, err)
	sameJSON(t, out, `{"cniVersion":"0.2.0","ip4":{"ip":"10.22.0.3/16","gateway":"10.22.0.1","routes":[{"dst":"0.0.0.0/0"}]},"dns":{}}`)
	_, err = byHand(n, "ADD", "loopback", p.ID, netns, "lo", example(t, "99-loopback.conf"))
	must(t, err)

	for _, c := range []struct {
		space *node.Space
		args  string
		want  []string
	}{
		{&p.Space, "addr show dev eth0", []string{"UP", "mtu 1500", "inet 10.22.0.3/16", "scope global", "inet6 fe80::"}},
		{&p.Space, "addr show dev lo", []string{"UP", "inet 127.0.0.1/8", "inet6 ::1/128"}},
		{&p.Space, "route show default", []string{"default via 10.22.0.1 dev eth0"}},
		{&n.Space, "addr show dev cni0", []string{"UP", "inet 10.22.0.1/16"}},
	} {
		out, err := c.space.Run("ip", strings.Fields(c.args)...)
		must(t, err)
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("ip %s in %s shows no %q:\n%s", c.args, c.space.Name, want, out)
			}
		}
	}

	for _, addr := range []string{"10.22.0.1", node.Addr4, "10.22.0.2", node.Outside4} {
		if err := p.Ping(addr); err != nil {
			t.Error(err)
		}
	}
	if err := n.Ping("10.22.0.3"); err != nil {
		t.Error(err)
	}
	serve(t, &n.Outside, 80)
	seen(t, &p.Space, "tcp", node.Outside4, 80, node.Addr4)
	seen(t, &p.Space, "udp", node.Outside4, 80, node.Addr4)

	for _, id := range []string{"12345678", "neighbour"} {
		_, err = byHand(n, "DEL", "loopback", id, "/var/run/netns/"+id, "lo", example(t, "99-loopback.conf"))
		must(t, err)
		_, err = byHand(n, "DEL", "bridge", id, "/var/run/netns/"+id, "eth0", conf)
		must(t, err)
	}
	must(t, p.Remove())
	must(t, neighbour.Remove())
	noneLeft(t, n, before, "cni0")
}

// TestToolkit: what ./build_linux.sh has made is what an operator expects to copy to /opt/cni/bin.
func TestToolkit(t *testing.T) {
	t.Parallel()
	for name := range strings.FieldsSeq(names(t, plugins)) {
		info, err := os.Stat(filepath.Join(plugins, name))
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm()&0o111 != 0o111 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	// Copied to a folder of a runtime, the plugins work from there.
	dir := t.TempDir()
	n := newNode(t)
	_, err := n.Run("sh", "-c", "cp "+plugins+"/* "+dir)
	must(t, err)
	for name := range strings.FieldsSeq(names(t, plugins)) {
		out, err := n.RunWith([]string{"CNI_COMMAND=VERSION"}, `{"cniVersion":"1.0.0"}`, filepath.Join(dir, name))
		must(t, err)
		for _, version := range []string{"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
			if !strings.Contains(out, `"`+version+`"`) {
				t.Errorf("%s does not support %s: %s", name, version, out)
			}
		}
	}
}

// TestKubeletsWay finds the configuration and the plugins as kubelets and CRI runtimes do, attaches lo and then eth0, and
// takes them away in the reverse order.
func TestKubeletsWay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, file := range []string{"99-loopback.conf", "10-kubernetes-node.conflist"} {
		must(t, os.WriteFile(filepath.Join(dir, file), []byte(example(t, file)), 0o644))
	}
	must(t, os.WriteFile(filepath.Join(dir, "00-notes.txt"), []byte("not a configuration"), 0o644))
	files, err := libcni.ConfFiles(dir, []string{".conf", ".conflist", ".json"})
	must(t, err)
	list, err := node.Load(files[0], "")
	must(t, err)
	if list.Name != "kubernetes-node" {
		t.Fatalf("the first file by name is %s", files[0])
	}
	lo, err := node.Parse([]byte(`{"cniVersion":"0.3.1","name":"cni-loopback","plugins":[{"type":"loopback"}]}`), "")
	must(t, err)

	n := newNode(t)
	before := text(t, n)
	var calls []string
	r := n.Runtime(func(c node.Call) { calls = append(calls, c.Plugin+" "+c.Verb) }, plugins)
	p := newPod(t, n, "kubelet")
	attachments := []node.Attachment{
		{Pod: p, List: lo, IfName: "lo"},
		{Pod: p, List: list, IfName: "eth0", Args: [][2]string{
			{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "default"}, {"K8S_POD_NAME", "web"}, {"K8S_POD_INFRA_CONTAINER_ID", p.ID}, {"K8S_POD_UID", "1-2"},
		}},
	}
	for _, a := range attachments {
		_, err := r.Add(a)
		must(t, err)
	}
	for i := len(attachments) - 1; i >= 0; i-- {
		must(t, r.Del(attachments[i]))
	}
	// containerd deletes once more when the pod is removed, without a namespace.
	must(t, p.Remove())
	gone := *p
	gone.Path = ""
	for i := len(attachments) - 1; i >= 0; i-- {
		a := attachments[i]
		a.Pod = &gone
		must(t, r.Del(a))
	}
	want := "[loopback ADD bridge ADD portmap ADD tuning ADD tuning DEL portmap DEL bridge DEL loopback DEL" +
		" tuning DEL portmap DEL bridge DEL loopback DEL]"
	if fmt.Sprint(calls) != want {
		t.Errorf("calls %v; want %s", calls, want)
	}
	noneLeft(t, n, before, "cni0")
}

// TestNoToolkit is what everybody meets first.
func TestNoToolkit(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	list, err := node.Load(filepath.Join(examples, "10-kubernetes-node.conflist"), "")
	must(t, err)
	empty := t.TempDir()
	_, err = n.Runtime(nil, empty).Add(node.Attachment{Pod: newPod(t, n, "p"), List: list, IfName: "eth0"})
	if want := fmt.Sprintf(`failed to find plugin "bridge" in path [%s]`, empty); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v; want %s", err, want)
	}
}
