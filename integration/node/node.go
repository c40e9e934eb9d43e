// Package node gives tests and demonstrations a node of their own to attach pods on: a network and a mount namespace with
// private state folders, an outside that is reached through an uplink, and pods. Nothing in it touches the machine's own
// network or state.
//
// A namespace belongs to a thread of the kernel, so everything that is to happen inside goes through Space.Do, which runs
// a function on a thread of its own. A program can hold any number of nodes and use them all at once.
//
//	the node                               the outside
//	uplink 192.0.2.2/24  ───────────────── node 192.0.2.1/24
//	       2001:db8::2/64                       2001:db8::1/64
//
// Each of the two has the other as its default route. The outside therefore answers packets from a pod whether they were
// masqueraded or not, and their source address tells.
package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kerneltest/fresh"
)

// The addresses of the two ends of the uplink.
const (
	Addr4    = "192.0.2.2"
	Addr6    = "2001:db8::2"
	Outside4 = "192.0.2.1"
	Outside6 = "2001:db8::1"
)

// private lists the folders that a node has for itself, empty in the beginning. Mounting needs them to exist, so a machine
// without them gets them, empty.
var private = []string{"/run", "/var/lib/cni", "/etc/cni"}

// Space is a network namespace within a node's mount namespace.
type Space struct {
	Name string
	net  *os.File
	mnt  *os.File

	patience time.Duration // of its clients; 0 is patience
}

// Node is a Space with an outside and pods.
type Node struct {
	Space
	Outside Space
}

// Pod is a network namespace with a path, as a runtime hands it to plugins.
type Pod struct {
	Space
	ID   string
	Path string // within the node
	node *Node
}

// New makes a node.
func New() (*Node, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("make a node: namespaces need root: %w", os.ErrPermission)
	}
	n := &Node{Space: Space{Name: "node"}, Outside: Space{Name: "outside"}}
	err := onThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := mounts(); err != nil {
			return err
		}
		if err := fresh.Settings(); err != nil {
			return err
		}
		if n.mnt, err = os.Open("/proc/thread-self/ns/mnt"); err != nil {
			return err
		}
		n.net, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		n.Close()
		return nil, fmt.Errorf("make a node: %w", err)
	}
	if err := n.wire(); err != nil {
		n.Close()
		return nil, fmt.Errorf("make a node: %w", err)
	}
	return n, nil
}

// mounts makes the calling thread's mount namespace private and fills it.
func mounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for _, dir := range private {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	// A sysfs shows the links of the namespace it was mounted in. It would hide the cgroups, which runtimes need, so
	// these step aside meanwhile.
	const cgroup, aside = "/sys/fs/cgroup", "/run/cgroup"
	if err := os.Mkdir(aside, 0o755); err != nil {
		return err
	}
	kept := unix.Mount(cgroup, aside, "", unix.MS_BIND|unix.MS_REC, "") == nil
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	if kept {
		if err := unix.Mount(aside, cgroup, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move cgroups back: %w", err)
		}
	}
	if err := os.Remove(aside); err != nil {
		return err
	}
	return os.Mkdir("/run/netns", 0o755)
}

// wire joins the node with its outside. Both ends get their addresses without the second that IPv6 would otherwise take
// to find out whether they are free.
func (n *Node) wire() error {
	out, err := n.pod("outside")
	if err != nil {
		return err
	}
	n.Outside = out.Space
	if err := n.batch(
		"link set lo up",
		"link add uplink type veth peer name node netns outside",
		"link set uplink addrgenmode none",
		"link set uplink up",
		"addr add "+Addr4+"/24 dev uplink",
		"addr add "+Addr6+"/64 dev uplink nodad",
		"addr add fe80::2/64 dev uplink nodad",
	); err != nil {
		return err
	}
	if err := n.Outside.batch(
		"link set lo up",
		"link set node addrgenmode none",
		"link set node up",
		"addr add "+Outside4+"/24 dev node",
		"addr add "+Outside6+"/64 dev node nodad",
		"addr add fe80::1/64 dev node nodad",
		"route add default via "+Addr4,
		"route add default via "+Addr6+" dev node",
	); err != nil {
		return err
	}
	if err := n.batch(
		"route add default via "+Outside4,
		"route add default via "+Outside6+" dev uplink",
	); err != nil {
		return err
	}
	return errors.Join(n.awaitUp("uplink"), n.Outside.awaitUp("node"))
}

// awaitUp waits until a link is operational. The kernel drops what is sent before, and a busy one takes seconds.
func (s *Space) awaitUp(name string) error {
	return s.Do(func() error {
		updates, done := make(chan netlink.LinkUpdate, 64), make(chan struct{})
		defer close(done)
		if err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{ListExisting: true}); err != nil {
			return fmt.Errorf("watch the links of %s: %w", s.Name, err)
		}
		late := time.After(patience)
		for {
			select {
			case u, ok := <-updates:
				if !ok {
					return fmt.Errorf("the links of %s are watched no longer", s.Name)
				}
				if u.Attrs().Name == name && u.Attrs().OperState == netlink.OperUp {
					return nil
				}
			case <-late:
				return fmt.Errorf("%s of %s is not operational after %v", name, s.Name, patience)
			}
		}
	})
}

// Close ends the node. What was made in it goes with the last of its processes.
func (n *Node) Close() error {
	for _, s := range []*Space{&n.Outside, &n.Space} {
		if s.net != nil {
			s.net.Close()
		}
	}
	if n.mnt != nil {
		n.mnt.Close()
	}
	return nil
}

// Pod makes a network namespace at /run/netns/ID of the node. Its loopback is down, as a runtime leaves it.
func (n *Node) Pod(id string) (*Pod, error) {
	p, err := n.pod(id)
	if err != nil {
		return nil, fmt.Errorf("make pod %s: %w", id, err)
	}
	return p, nil
}

func (n *Node) pod(id string) (*Pod, error) {
	p := &Pod{Space: Space{Name: id, mnt: n.mnt}, ID: id, Path: "/run/netns/" + id, node: n}
	err := n.Do(func() (err error) {
		f, err := os.OpenFile(p.Path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
		if err != nil {
			return err
		}
		f.Close()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := fresh.Settings(); err != nil {
			return err
		}
		if err := unix.Mount("/proc/thread-self/ns/net", p.Path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", p.Path, err)
		}
		p.net, err = os.Open(p.Path)
		return err
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Close lets go of the namespace, which stays at its path: nothing is run in it from then on.
func (p *Pod) Close() error { return p.net.Close() }

// Remove takes the pod's namespace away, as a runtime does after DEL, or as happens to a pod that is lost.
// Servers within keep it alive: close them first.
func (p *Pod) Remove() error {
	p.net.Close()
	return p.node.Do(func() error {
		if err := unix.Unmount(p.Path, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", p.Path, err)
		}
		return os.Remove(p.Path)
	})
}

// Do runs a function on a thread within the namespaces. What it starts on other goroutines is not within.
func (s *Space) Do(do func() error) error {
	return onThread(func() error {
		// A thread can only change its mounts once it shares its working directory with no other.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Setns(int(s.mnt.Fd()), unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("enter %s's mounts: %w", s.Name, err)
		}
		if err := unix.Setns(int(s.net.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter %s's network: %w", s.Name, err)
		}
		return do()
	})
}

// Command is a command that is yet to be started, by start or the like from within Do.
func command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	// sudo and cron leave out the folders of ip and nft, and a shell's locale may move nft's commas.
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "LC_ALL=C")
	if path, err := exec.LookPath(name); err == nil {
		cmd.Path, cmd.Err = path, nil
	} else if !strings.Contains(name, "/") {
		for _, dir := range []string{"/usr/sbin", "/sbin"} {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				cmd.Path, cmd.Err = path, nil
			}
		}
	}
	return cmd
}

// Run runs a command and gives back what it printed. An error holds the command and what it said.
func (s *Space) Run(name string, args ...string) (string, error) {
	return s.RunWith(nil, "", name, args...)
}

// RunWith is Run with variables added to the environment and a text on standard input.
func (s *Space) RunWith(env []string, stdin string, name string, args ...string) (string, error) {
	var stdout, stderr strings.Builder
	err := s.Do(func() error {
		cmd := command(name, args...)
		cmd.Env = append(cmd.Env, env...)
		cmd.Stdin = strings.NewReader(stdin)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		return runBounded(cmd)
	})
	if err != nil {
		said := strings.TrimSpace(stdout.String() + stderr.String())
		return stdout.String(), fmt.Errorf("%s: %s %s: %w: %s", s.Name, name, strings.Join(args, " "), err, said)
	}
	return stdout.String(), nil
}

// Start starts a command that goes on by itself; the caller waits for it and ends it.
func (s *Space) Start(cmd *exec.Cmd) error {
	return s.Do(cmd.Start)
}

func (s *Space) batch(lines ...string) error {
	_, err := s.RunWith(nil, strings.Join(lines, "\n")+"\n", "ip", "-batch", "-")
	return err
}

// Sysctl writes a file under /proc/sys.
func (s *Space) Sysctl(key, value string) error {
	return s.Do(func() error { return os.WriteFile("/proc/sys/"+key, []byte(value), 0) })
}

// ReadFile reads a file as the namespaces show it.
func (s *Space) ReadFile(path string) (string, error) {
	var text []byte
	err := s.Do(func() (err error) {
		text, err = os.ReadFile(path)
		return err
	})
	return strings.TrimSpace(string(text)), err
}

// WriteFile writes a file, with the folders above it.
func (s *Space) WriteFile(path, text string) error {
	return s.Do(func() error {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.WriteFile(path, []byte(text), 0o644)
	})
}

// onThread runs a function on a thread that ends with it, since its namespaces are not to be met by other goroutines.
func onThread(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: that is what ends the thread
		err := errors.New("the function ended its goroutine")
		defer func() { done <- err }()
		err = do()
	}()
	return <-done
}

// Root is the top of the source tree: the closest folder above the working directory that holds go.mod.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == "/" {
			return "", fmt.Errorf("find go.mod above the working directory: %w", syscall.ENOENT)
		}
	}
}
