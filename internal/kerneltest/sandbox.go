// Package kerneltest gives a test a kernel of its own: a host namespace, a pod
// namespace, and a text of all that is in both. The machine's own network and
// its own state folders are never touched.
package kerneltest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/kerneltest/fresh"
)

// Sandbox is one test's two network namespaces and its own /run and
// /var/lib/cni. The test's own goroutine runs in the host's namespace.
type Sandbox struct {
	t testing.TB
	// Pod is the path of the pod's namespace.
	Pod string
}

// New makes a sandbox and puts the calling test's thread into its host side.
// The thread is never unlocked: it ends with the test, and with it its
// namespaces.
func New(t testing.TB) *Sandbox {
	t.Helper()
	NeedsNamespaces(t)
	NeedsPrograms(t, "ip", "tc", "nft", "iptables", "conntrack", "ethtool", "ping")
	runtime.LockOSThread()
	s := &Sandbox{t: t, Pod: filepath.Join(t.TempDir(), "pod")}
	s.must(os.MkdirAll("/var/lib/cni", 0o700))
	s.must(unix.Unshare(unix.CLONE_NEWNS))
	s.must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	for _, dir := range []string{"/run", "/var/lib/cni"} {
		s.must(unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"))
	}
	s.NewPod(s.Pod)
	host, err := netns.New()
	s.must(err)
	s.must(host.Close())
	s.must(fresh.Settings())
	// A view of its own into /sys/class/net: that of the namespace that mounts it.
	s.must(unix.Mount("sysfs", "/sys", "sysfs", 0, ""))
	s.Run("ip link set lo up")
	return s
}

// NewPod makes another pod's namespace at path, leaving the thread where it is.
func (s *Sandbox) NewPod(path string) {
	s.t.Helper()
	home, err := netns.Get()
	s.must(err)
	defer home.Close()
	s.must(os.WriteFile(path, nil, 0o600))
	pod, err := netns.New()
	s.must(err)
	defer pod.Close()
	s.must(fresh.Settings())
	s.must(unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), path, "", unix.MS_BIND, ""))
	s.t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	s.must(netns.Set(home))
}

// Kernel opens the sandbox as a plugin would.
func (s *Sandbox) Kernel() *kernel.Kernel {
	s.t.Helper()
	k, err := kernel.Open(s.Pod)
	s.must(err)
	s.t.Cleanup(k.Close)
	return k
}

// Run runs a shell command on the host; $POD is the path of the pod's
// namespace, and the function pod runs a command inside it.
func (s *Sandbox) Run(command string) string {
	s.t.Helper()
	out, err := s.Try(command)
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return out
}

// Try is Run for a command that may fail.
func (s *Sandbox) Try(command string) (string, error) {
	c := exec.Command("sh", "-c", `pod() { nsenter --net="$POD" "$@"; }; `+command)
	c.Env = append(os.Environ(), "POD="+s.Pod)
	out, err := c.CombinedOutput()
	return string(out), err
}

// Has fails the test unless what a command shows has all of the words.
func (s *Sandbox) Has(command string, words ...string) {
	s.t.Helper()
	out := s.Run(command)
	for _, word := range words {
		if !strings.Contains(out, word) {
			s.t.Errorf("%s shows no %q:\n%s", command, word, out)
		}
	}
}

// Lacks fails the test if what a command shows has one of the words.
func (s *Sandbox) Lacks(command string, words ...string) {
	s.t.Helper()
	out := s.Run(command)
	for _, word := range words {
		if strings.Contains(out, word) {
			s.t.Errorf("%s shows %q:\n%s", command, word, out)
		}
	}
}

// Segment is a shell command that makes the link up0 on the host. Its other end,
// up1, is everybody else on its network segment.
const Segment = "ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up"

// looks show everything in a namespace that a plugin may touch, in the tools' own
// words: a command, and what it reads.
var looks = []struct {
	command []string
	stdin   string
}{
	{[]string{"ip", "-br", "-b", "-"}, "link\naddr\n"},
	{[]string{"ip", "-4", "-b", "-"}, "route show table all\nrule\n"},
	{[]string{"ip", "-6", "-b", "-"}, "route show table all\nrule\n"},
	{[]string{"nft", "list", "ruleset"}, ""},
}

// The kernel changes these in its own time: the state of carriers, link-local
// addresses, and the routes to its own IPv6 addresses, which follow those.
var (
	ownLines = regexp.MustCompile(`(?m)^((local |anycast |)fe80::|(local|anycast) .* table local proto kernel metric 0|multicast ff00::/8).*\n`)
	ownWords = regexp.MustCompile(`fe80::[^ \n]* | linkdown|NO-CARRIER,|,LOWER_UP`)
	states   = regexp.MustCompile(`(?m)^([^ \n]+ +)(UP|DOWN|UNKNOWN|LOWERLAYERDOWN) +`)
)

// look is what looks show on the host, and in the pod where there is one. It
// starts no more processes than it must: on an emulated kernel that takes most of
// the time.
func (s *Sandbox) look(b *strings.Builder) {
	s.t.Helper()
	for _, l := range looks {
		c := exec.Command(l.command[0], l.command[1:]...)
		c.Stdin = strings.NewReader(l.stdin)
		out, err := c.CombinedOutput()
		if err != nil {
			fmt.Fprintln(b, err)
		}
		fmt.Fprintf(b, "# %s\n%s", strings.Join(l.command, " "), states.ReplaceAll(ownWords.ReplaceAll(ownLines.ReplaceAll(out, nil), nil), []byte("$1")))
	}
}

// Text is everything a plugin may touch, on both sides.
func (s *Sandbox) Text() string {
	s.t.Helper()
	return s.text(true)
}

// HostText is Text for the host's side alone.
func (s *Sandbox) HostText() string {
	s.t.Helper()
	return s.text(false)
}

func (s *Sandbox) text(both bool) string {
	s.t.Helper()
	var b strings.Builder
	b.WriteString("# host\n")
	s.look(&b)
	if pod, err := netns.GetFromPath(s.Pod); both && err == nil {
		defer pod.Close()
		home, err := netns.Get()
		s.must(err)
		defer home.Close()
		if err := netns.Set(pod); err == nil { // else it is an empty file
			b.WriteString("# pod\n")
			s.look(&b)
			s.must(netns.Set(home))
		}
	}
	for _, dir := range []string{"/run", "/var/lib/cni"} {
		s.must(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				fmt.Fprintln(&b, "#", path)
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}))
	}
	return b.String()
}

// Same reports what differs between two texts.
func (s *Sandbox) Same(what, before, after string) {
	s.t.Helper()
	if before == after {
		return
	}
	a, b := strings.Split(before, "\n"), strings.Split(after, "\n")
	s.t.Errorf("%s: it is not as before:\n-%s\n+%s", what, strings.Join(lack(a, b), "\n-"), strings.Join(lack(b, a), "\n+"))
}

// lack gives the lines of a that b lacks.
func lack(a, b []string) (out []string) {
	have := map[string]int{}
	for _, l := range b {
		have[l]++
	}
	for _, l := range a {
		if have[l]--; have[l] < 0 {
			out = append(out, l)
		}
	}
	return out
}

func (s *Sandbox) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// Golden compares a text with a file, which UPDATE=1 in the environment writes.
func Golden(t testing.TB, file, got string) {
	t.Helper()
	if os.Getenv("UPDATE") != "" {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what came out:\n%s", file, got)
	}
}
