package integration

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/catena-cni/catena/integration/node"
)

// containerd is Debian's, on a node and in a process namespace of its own, with which all ends that it has started. What it
// takes for the node's /opt is in dir.
type containerd struct {
	cri
	*node.Node
	dir, socket string
}

func newContainerd(t *testing.T) containerd {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctd") // the path of a socket has no room for more
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := containerd{Node: newNode(t), dir: dir, socket: dir + "/socket"}
	must(t, os.Mkdir(dir+"/opt", 0o755))
	must(t, os.WriteFile(dir+"/config.toml", fmt.Appendf(nil, `version = 2
root = "%[1]s/root"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "%[1]s/socket"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  disable_apparmor = true
  disable_cgroup = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
`, dir), 0o644))
	// The first process of a namespace takes the others with it. It ends when this process closes what it reads, or ends.
	var said bytes.Buffer
	first := exec.Command("unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c",
		`mount --bind "$0/opt" /opt && containerd -c "$0/config.toml" & read _`, dir)
	first.Stdout, first.Stderr = &said, &said
	lives, err := first.StdinPipe()
	must(t, err)
	must(t, c.Start(first))
	t.Cleanup(func() {
		lives.Close()
		_ = first.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	c.cri = newCRI(t, c.socket)
	c.until("containerd answers", func() bool { _, err := c.try("RuntimeService/Status"); return err == nil })
	return c
}

// until waits for what is to become true.
func (c containerd) until(what string, is func() bool) {
	c.Helper()
	for end := time.Now().Add(2 * time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			_, why := c.networkReady()
			c.Fatalf("not within two minutes: %s; the network: %s", what, why)
		}
	}
}

// image gives containerd an image of files, by their paths in it.
func (c containerd) image(name string, entrypoint []string, files map[string]string) {
	c.Helper()
	pack := func(files map[string][]byte) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for name, text := range files {
			must(c.T, w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text))}))
			_, err := w.Write(text)
			must(c.T, err)
		}
		must(c.T, w.Close())
		return b.Bytes()
	}
	content := map[string][]byte{}
	for path, from := range files {
		text, err := os.ReadFile(from)
		must(c.T, err)
		content[path] = text
	}
	layer := pack(content)
	config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","config":{"Entrypoint":["%s"]},"rootfs":{"type":"layers","diff_ids":["sha256:%x"]}}`,
		strings.Join(entrypoint, `","`), sha256.Sum256(layer))
	file := filepath.Join(c.dir, "image.tar")
	must(c.T, os.WriteFile(file, pack(map[string][]byte{"layer.tar": layer, "config.json": config,
		"manifest.json": fmt.Appendf(nil, `[{"Config":"config.json","RepoTags":[%q],"Layers":["layer.tar"]}]`, name)}), 0o644))
	run(c.T, c.dir, "ctr", "-a", c.socket, "-n", "k8s.io", "images", "import", "--snapshotter", "native", file)
	c.until("the image "+name, func() bool {
		m, err := c.try("ImageService/ImageStatus", field{1, message{{1, name}}})
		return err == nil && m.text(c.T, 1, 1) != ""
	})
}

// sandbox starts a pod without containers.
func (c containerd) sandbox(name string, hostNetwork bool) (id string, config message) {
	c.Helper()
	options := message{}
	if hostNetwork {
		options = message{{1, 2}}
	}
	config = message{{1, message{{1, name}, {2, "uid-" + name}, {3, "default"}}}, {8, message{{2, message{{1, options}}}}}}
	return c.call("RuntimeService/RunPodSandbox", field{1, config}).text(c.T, 1), config
}

func (c containerd) remove(sandbox string) {
	c.Helper()
	c.call("RuntimeService/StopPodSandbox", field{1, sandbox})
	c.call("RuntimeService/RemovePodSandbox", field{1, sandbox})
}

// start starts one of a manifest's containers, with all that its security context and mounts say.
func (c containerd) start(sandbox string, config message, of container, volumes []volume, objects map[string]object) (id string) {
	c.Helper()
	s := of.SecurityContext
	security := message{{1, message{{2, s.Capabilities.Drop[0]}}}, {3, message{{1, 2}}}, {5, message{{1, *s.RunAsUser}}}, {7, 1}, {10, "runtime/default"}, {11, 1}}
	request := message{{1, message{{1, of.Name}}}, {2, message{{1, of.Image}}}, {15, message{{2, security}}}}
	for _, arg := range of.Args {
		request = append(request, field{4, arg})
	}
	for _, mount := range of.VolumeMounts {
		for _, v := range volumes {
			if v.Name != mount.Name {
				continue
			}
			path := filepath.Join(c.dir, "volumes", v.Name)
			must(c.T, os.MkdirAll(path, 0o755))
			switch {
			case v.HostPath != nil:
				path = v.HostPath.Path
			case v.ConfigMap != nil:
				for name, text := range objects["ConfigMap "+v.ConfigMap.Name].Data {
					must(c.T, os.WriteFile(filepath.Join(path, name), []byte(text), 0o644))
				}
			}
			readonly := 0
			if mount.ReadOnly {
				readonly = 1
			}
			request = append(request, field{7, message{{1, mount.MountPath}, {2, path}, {3, readonly}}})
		}
	}
	id = c.call("RuntimeService/CreateContainer", field{1, sandbox}, field{2, request}, field{3, config}).text(c.T, 1)
	c.call("RuntimeService/StartContainer", field{1, id})
	return id
}

// TestDaemonSet runs what the manifests say on a node of containerd's that has no plugins and no network, as a kubelet would:
// it becomes ready, pods come and go, also when the installer has ended, and what was put there is taken away again.
func TestDaemonSet(t *testing.T) {
	t.Parallel()
	objects, err := manifests()
	must(t, err)
	c := newContainerd(t)
	for name, folder := range map[string]string{"install": "./plugins/tool/install", "answer": "./integration/answer"} {
		build := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(c.dir, name), folder)
		build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	c.image("localhost/pause:1", []string{"/answer", "8000"}, map[string]string{"answer": c.dir + "/answer"})
	files := map[string]string{"install": c.dir + "/install"}
	for _, name := range strings.Fields(names(t, plugins)) {
		files["opt/cni/bin/"+name] = filepath.Join(plugins, name)
	}
	pod := objects["DaemonSet catena"].Spec.Template.Spec
	c.image(pod.Containers[0].Image, []string{"/install"}, files)
	must(t, c.WriteFile("/run/flannel/subnet.env", "FLANNEL_NETWORK=10.50.0.0/16\nFLANNEL_SUBNET=10.50.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"))
	before := text(t, c.Node)

	// A plugin that root cannot read without a capability is in the way.
	must(t, os.MkdirAll(c.dir+"/opt/cni/bin", 0o755))
	must(t, os.WriteFile(c.dir+"/opt/cni/bin/bridge", []byte("older"), 0o700))
	must(t, os.Chown(c.dir+"/opt/cni/bin/bridge", 1001, 1001))

	if ready, why := c.networkReady(); ready || !strings.Contains(why, "cni plugin not initialized") {
		t.Fatalf("in the beginning the network is ready: %v: %s", ready, why)
	}
	installer, config := c.sandbox("catena", true)
	id := c.start(installer, config, pod.Containers[0], pod.Volumes, objects)
	probe := message{{1, id}, {3, 60}}
	for _, word := range pod.Containers[0].ReadinessProbe.Exec.Command {
		probe = append(probe, field{2, word})
	}
	ready := func() bool {
		answer, err := c.try("RuntimeService/ExecSync", probe...)
		return err == nil && !slices.ContainsFunc(answer, func(f field) bool { return f.number == 3 && f.value != 0 })
	}
	c.until("the readiness probe", ready)
	isReady := func() bool { ready, _ := c.networkReady(); return ready }
	c.until("NetworkReady", isReady)
	if got, want := names(t, c.dir+"/opt/cni/bin"), ".catena-installed "+names(t, plugins); got != want {
		t.Errorf("among the node's plugins are %s; want %s", got, want)
	}

	attached, _ := c.sandbox("p", false)
	addr := parse(t, []byte(c.call("RuntimeService/PodSandboxStatus", field{1, attached}).text(t, 1))).text(t, 5, 1)
	if !strings.HasPrefix(addr, "10.50.1.") {
		t.Errorf("the pod has the address %q", addr)
	}
	c.until("the pod answers", func() bool { _, err := c.Ask("tcp", addr, 8000); return err == nil })

	// Whoever takes the configuration away finds it there again, and so does containerd.
	const file = "/etc/cni/net.d/10-flannel.conflist"
	must(t, c.Do(func() error { return os.Remove(file) }))
	c.until("the configuration again", func() bool { _, err := c.ReadFile(file); return err == nil })
	c.until("NetworkReady again", isReady)

	c.call("RuntimeService/StopContainer", field{1, id}, field{2, 30})
	c.remove(installer)
	if ready, why := c.networkReady(); !ready {
		t.Errorf("when the installer has ended the network is not ready: %s", why)
	}
	c.remove(attached)

	pod = objects["DaemonSet catena-uninstall"].Spec.Template.Spec
	uninstaller, config := c.sandbox("catena-uninstall", true)
	c.start(uninstaller, config, pod.InitContainers[0], pod.Volumes, objects)
	c.until("no network", func() bool { return !isReady() })
	c.until("no plugins", func() bool { return names(t, c.dir+"/opt/cni/bin") == "" })
	c.remove(uninstaller)
	noneLeft(t, c.Node, before, "cni0")
}
