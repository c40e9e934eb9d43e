package integration

import (
	"archive/tar"
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/catena-cni/catena/integration/node"
)

// debians are the plugins of Debian's package containernetworking-plugins.
const debians = "/usr/lib/cni"

// podman is Debian's, on a node and in a process namespace, so that containers, mounts and monitors end with the test
// however that ends.
type podman struct {
	*node.Node
	t    *testing.T
	init string // the number of the process that all others end with
	bin  string // where podman looks for plugins
}

func newPodman(t *testing.T) podman {
	t.Helper()
	// Debian's own file of podman's default network; the node does not see the machine's.
	network, err := os.ReadFile("/etc/cni/net.d/87-podman-bridge.conflist")
	must(t, err)
	p := podman{Node: newNode(t), t: t, bin: filepath.Join(t.TempDir(), "cni")}
	dir := filepath.Dir(p.bin)
	must(t, p.WriteFile("/etc/cni/net.d/87-podman-bridge.conflist", string(network)))
	must(t, p.WriteFile(filepath.Join(dir, "containers.conf"), fmt.Sprintf(`
[containers]
cgroups = "disabled"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"] # may be lowered without privileges
log_driver = "k8s-file"
seccomp_profile = "unconfined"
[network]
network_backend = "cni"
cni_plugin_dirs = ["%s"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "crun"
image_copy_tmp_dir = "%s"
infra_image = "localhost/answer"
`, p.bin, dir)))
	must(t, p.WriteFile(filepath.Join(dir, "storage.conf"), fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = \"/run/storage\"\n", filepath.Join(dir, "storage"))))

	// It reaps what is left to it, as long as it reads, and it reads as long as this process lives.
	init := exec.Command("bash", "-c", `set -e
		mount -t proc proc /proc
		for dir in /etc/containers /dev/shm; do mount -t tmpfs tmpfs $dir; done
		umount /sys/fs/cgroup/unified || true # crun wants cgroups of one version alone, of which nothing is used
		echo '{"default": [{"type": "insecureAcceptAnything"}]}' >/etc/containers/policy.json
		echo ready
		read`)
	init.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	var said bytes.Buffer
	init.Stderr = &said
	lives, err := init.StdinPipe()
	must(t, err)
	out, err := init.StdoutPipe()
	must(t, err)
	must(t, p.Start(init))
	t.Cleanup(func() {
		lives.Close()
		_ = init.Wait()
	})
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("no namespace for podman: %s", said.String())
	}
	p.init = strconv.Itoa(init.Process.Pid)
	p.plugins(debians)
	p.image(dir)
	return p
}

// image makes localhost/answer, which answers on port 80 and has nothing else.
func (p podman) image(dir string) {
	p.t.Helper()
	answer := filepath.Join(dir, "answer")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", answer, "./integration/answer")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		p.t.Fatalf("%v: %s", err, out)
	}
	file, err := os.Create(filepath.Join(dir, "answer.tar"))
	must(p.t, err)
	defer file.Close()
	text, err := os.ReadFile(answer)
	must(p.t, err)
	w := tar.NewWriter(file)
	must(p.t, w.WriteHeader(&tar.Header{Name: "answer", Mode: 0o755, Size: int64(len(text))}))
	_, err = w.Write(text)
	must(p.t, err)
	must(p.t, w.Close())
	p.run("import", "-q", "-c", `CMD ["/answer", "80"]`, file.Name(), "localhost/answer")
}

// run calls podman.
func (p podman) run(args ...string) string {
	p.t.Helper()
	out, err := p.try(args...)
	must(p.t, err)
	return out
}

// try calls podman for what may fail.
func (p podman) try(args ...string) (string, error) {
	dir := filepath.Dir(p.bin)
	return p.inside(append([]string{
		"env", "HOME=" + dir, "CONTAINERS_CONF=" + filepath.Join(dir, "containers.conf"), "CONTAINERS_STORAGE_CONF=" + filepath.Join(dir, "storage.conf"), "podman",
	}, args...)...)
}

// inside runs a command where podman runs.
func (p podman) inside(args ...string) (string, error) {
	out, err := p.Run("nsenter", append([]string{"-m", "-p", "-t", p.init}, args...)...)
	return strings.TrimSpace(out), err
}

// within runs a command of the node's in a container's network.
func (p podman) within(name string, args ...string) string {
	p.t.Helper()
	out, err := p.inside(append([]string{"nsenter", "--net=" + p.run("inspect", "-f", "{{.NetworkSettings.SandboxKey}}", name)}, args...)...)
	must(p.t, err)
	return out
}

// plugins puts a folder's plugins into podman's, each one atomically.
func (p podman) plugins(from string) {
	p.t.Helper()
	must(p.t, os.MkdirAll(p.bin, 0o755))
	p.shell("cd %s; for f in *; do cp $f %[2]s/.new; mv %[2]s/.new %[2]s/$f; done", from, p.bin)
}

func (p podman) shell(format string, args ...any) {
	p.t.Helper()
	_, err := p.Run("sh", "-c", fmt.Sprintf(format, args...))
	must(p.t, err)
}

// reached fails the test unless a container answers as soon as it listens, and sees the question come from want.
func (p podman) reached(from *node.Space, addr string, port int, want string) {
	p.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got, err := from.Ask("tcp", addr, port)
		if err == nil && got == want {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s asks %s port %d and is seen as %q, %v; want %s\n%s", from.Name, addr, port, got, err, want, text(p.t, p.Node))
		}
	}
}

// published fails the test unless a host port leads to a container, from the outside and from the node. Over UDP a program
// in several networks would answer from another address than it was asked at.
func (p podman) published(port int, networks ...string) {
	p.t.Helper()
	p.reached(&p.Outside, node.Addr4, port, node.Outside4)
	for _, network := range append(networks, "tcp") {
		seen(p.t, &p.Outside, network, node.Addr4, port, node.Outside4)
		for _, addr := range []string{node.Addr4, "127.0.0.1"} {
			if _, err := p.Ask(network, addr, port); err != nil {
				p.t.Error(err)
			}
		}
	}
}

// start runs a container with a port published over TCP and UDP.
func (p podman) start(name string, port int, args ...string) {
	p.t.Helper()
	all := []string{"run", "-d", "--name", name, "-p", fmt.Sprintf("%d:80", port), "-p", fmt.Sprintf("%d:80/udp", port)}
	p.run(append(append(all, args...), "localhost/answer")...)
}

// lives is a life of some containers and networks, of which nothing is left.
func (p podman) lives() {
	t := p.t
	t.Helper()
	p.start("web", 8080)
	p.published(8080, "udp")
	// What leaves is seen as the node.
	if got := p.within("web", "curl", "-sS", "http://"+node.Outside4+":8080/"); got != node.Addr4 {
		t.Errorf("a container is seen as %q; want %s", got, node.Addr4)
	}
	p.run("restart", "web")
	p.published(8080, "udp")

	p.run("network", "create", "--label", "made=here", "--subnet", "10.66.1.0/24", "one")
	p.run("network", "create", "--ipv6", "--subnet", "10.66.2.0/24", "--subnet", "fd00:66:2::/64", "-o", "mtu=1400", "two")
	p.start("own", 8081, "--network", "two:ip=10.66.2.50,ip=fd00:66:2::50,mac=02:11:22:33:44:55")
	p.published(8081, "udp")
	p.reached(&p.Outside, node.Addr6, 8081, node.Outside6)
	p.has("own", "eth0", "10.66.2.50/24", "fd00:66:2::50/64", "02:11:22:33:44:55", "mtu 1400")

	// A network that joins and leaves takes neither the other's ports nor its addresses.
	p.run("network", "connect", "one", "web")
	p.has("web", "eth1", "10.66.1.")
	p.published(8080)
	p.run("network", "disconnect", "one", "web")
	if out := p.within("web", "ip", "addr"); strings.Contains(out, "10.66.1.") {
		t.Errorf("the network has not left:\n%s", out)
	}
	p.published(8080)

	// In two networks, a port stays while one of them is there.
	p.start("both", 8082, "--network", "one", "--network", "two")
	p.published(8082)
	p.run("restart", "both")
	p.published(8082)
	for _, order := range [][]string{{"one", "two"}, {"two", "one"}} {
		p.run("network", "disconnect", order[0], "both")
		p.published(8082)
		p.run("network", "connect", order[0], "both")
		p.published(8082)
	}

	// In a pod, the network is its own and the answers are a container's.
	p.run("pod", "create", "--name", "pod", "--share-parent=false", "--network", "one", "-p", "8083:80", "-p", "8083:80/udp", "--infra-command", "/answer 81")
	p.run("run", "-d", "--pod", "pod", "localhost/answer")
	p.published(8083, "udp")

	p.run("network", "create", "-d", "macvlan", "-o", "parent=eth0", "--subnet", "192.168.77.0/24", "--gateway", "192.168.77.1", "lan")
	p.run("run", "-d", "--name", "machine", "--network", "lan:ip=192.168.77.20", "localhost/answer")
	p.reached(&p.Outside, "192.168.77.20", 80, "192.168.77.1")

	p.run("pod", "rm", "-f", "pod")
	p.run("rm", "-f", "web", "own", "both", "machine")
	p.run("network", "rm", "one", "two", "lan")
}

// example is a life on a network of conflist-examples, in which a slip is seen by whoever calls podman.
func (p podman) example() {
	t := p.t
	t.Helper()
	const file = "/etc/cni/net.d/10-single-host.conflist"
	conf := example(t, filepath.Base(file))
	must(t, p.WriteFile(file, conf))
	p.start("example", 8094, "--network", "single-host")
	p.published(8094, "udp")
	p.run("rm", "-f", "example")
	must(t, p.WriteFile(file, strings.Replace(conf, "ipMasq", "ipMsaq", 1)))
	if _, err := p.try("run", "--rm", "--network", "single-host", "localhost/answer"); err == nil || !strings.Contains(err.Error(), "did you mean ipMasq?") {
		t.Errorf("a slip in the configuration: %v", err)
	}
	p.shell("rm %s", file)
}

// has fails the test unless a link of a container has all of the words.
func (p podman) has(name, link string, words ...string) {
	p.t.Helper()
	out := p.within(name, "ip", "addr", "show", "dev", link)
	for _, word := range words {
		if !strings.Contains(out, word) {
			p.t.Errorf("no %s in\n%s", word, out)
		}
	}
}

// TestPodman: containers on podman's default network and on networks of its own making come, are reached by their ports,
// restart, change networks and go, first with Debian's plugins and then with ours in their place. Those that run through
// the exchange go on, and leave nothing either.
func TestPodman(t *testing.T) {
	t.Parallel()
	p := newPodman(t)
	for _, args := range lan {
		_, err := p.Run("ip", strings.Fields(args)...)
		must(t, err)
	}
	_, err := p.Outside.Run("sh", "-c", "ip link set lan0 up; ip addr add 192.168.77.1/24 dev lan0")
	must(t, err)
	serve(t, &p.Outside, 8080)
	before := text(t, p.Node)
	p.lives()

	p.run("network", "create", "--subnet", "10.66.3.0/24", "three")
	p.run("network", "create", "--subnet", "10.66.4.0/24", "four")
	p.start("default", 8090)
	p.start("created", 8091, "--network", "three")
	p.start("several", 8092, "--network", "three", "--network", "four")
	p.start("asleep", 8093, "--network", "four")
	p.run("stop", "asleep")
	p.plugins(plugins)
	standing := func() {
		t.Helper()
		for _, port := range []int{8090, 8091, 8092} {
			p.published(port)
		}
	}
	standing()
	// Upstream's firewall lets nothing in where the host drops what it forwards.
	p.shell("iptables -P FORWARD DROP; ip6tables -P FORWARD DROP")
	p.lives()
	p.shell("iptables -P FORWARD ACCEPT; ip6tables -P FORWARD ACCEPT")
	standing()
	p.run("start", "asleep")
	p.published(8093, "udp")
	p.run("restart", "default")
	p.run("network", "disconnect", "three", "several")
	standing()
	p.run("stop", "created")
	p.run("rm", "-f", "default", "created", "several", "asleep")
	p.run("network", "rm", "three", "four")

	p.example()
	p.run("rmi", "-a")
	noneLeft(t, p.Node, before, "cni-podman0", "cni0")
}
