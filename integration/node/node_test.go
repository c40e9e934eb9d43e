package node

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.RootMain(m) }

func mustNode(t *testing.T) *Node {
	t.Helper()
	n, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func TestOutsideAndNodeReachEachOther(t *testing.T) {
	t.Parallel()
	n := mustNode(t)
	server, err := n.Outside.Serve(80)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for _, c := range []struct{ network, to, want string }{
		{"tcp", Outside4, Addr4}, {"tcp", Outside6, Addr6}, {"udp", Outside4, Addr4}, {"udp", Outside6, Addr6},
	} {
		seen, err := n.Ask(c.network, c.to, 80)
		if err != nil || seen != c.want {
			t.Errorf("%s to %s was seen from %q, %v; want %s", c.network, c.to, seen, err, c.want)
		}
	}
	for _, addr := range []string{Addr4, Addr6} {
		if err := n.Outside.Ping(addr); err != nil {
			t.Error(err)
		}
	}
}

func TestNodesAreApart(t *testing.T) {
	t.Parallel()
	root, err := exec.Command("readlink", "/proc/self/ns/net", "/proc/self/ns/mnt").Output()
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for range 3 {
		n := mustNode(t)
		out, err := n.Run("readlink", "/proc/self/ns/net", "/proc/self/ns/mnt")
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, strings.Fields(out)...)
		if err := n.WriteFile("/var/lib/cni/mark", "x"); err != nil {
			t.Fatal(err)
		}
		if out, err := n.Run("ls", "/sys/class/net"); err != nil || out != "lo\nuplink\n" {
			t.Errorf("the node has links %q, %v", out, err)
		}
	}
	seen = append(seen, strings.Fields(string(root))...)
	slices.Sort(seen)
	if len(slices.Compact(seen)) != 8 {
		t.Errorf("namespaces are shared: %q", seen)
	}
	if out, err := exec.Command("ls", "/var/lib/cni/mark").CombinedOutput(); err == nil {
		t.Errorf("the node's files are the machine's: %s", out)
	}
}

func TestPodComesAndGoes(t *testing.T) {
	t.Parallel()
	n := mustNode(t)
	before, err := n.Text()
	if err != nil {
		t.Fatal(err)
	}
	p, err := n.Pod("a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Pod("a"); err == nil {
		t.Error("a second pod of the same name was made")
	}
	with, err := n.Text()
	if err != nil {
		t.Fatal(err)
	}
	if gone, come := Diff(before, with); len(gone) != 0 || fmt.Sprint(come) != "[netns /run/netns/a]" {
		t.Errorf("a pod changed the text by %q, %q", gone, come)
	}
	if err := p.Remove(); err != nil {
		t.Fatal(err)
	}
	after, err := n.Text()
	if err != nil {
		t.Fatal(err)
	}
	if before != after {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// TestTextSeesEverything makes changes of each kind, one after the other, and expects each to be seen and told apart.
func TestTextSeesEverything(t *testing.T) {
	t.Parallel()
	n := mustNode(t)
	last, err := n.Text()
	if err != nil {
		t.Fatal(err)
	}
	first := last
	for _, c := range []struct {
		command string
		shared  bool
	}{
		{"ip link add cni0 type bridge", true},
		{"ip addr add 10.1.0.1/16 dev cni0", true},
		{"ip link add vetha type veth peer name vethb", false},
		{"ip link set vetha master cni0", false},
		{"ip link set vetha alias x", false},
		{"ip addr add 10.9.0.1/32 dev vetha", false},
		{"ip route add blackhole 10.8.0.0/16", false},
		{"ip -6 rule add from 2001:db8:5::/64 table 7", false},
		{"sysctl -w net.ipv4.ip_forward=1", true},
		{"nft add table inet catena", true},
		{"nft add set inet catena pods { type ipv4_addr; }", true},
		{"nft add element inet catena pods { 10.1.0.2 comment \"a, b\" }", false},
		{"nft add table inet other", true},
		{"nft add chain inet other c", false},
		{"nft add rule inet other c ip saddr 10.1.0.2 accept", false},
		{"mkdir -p /var/lib/cni/networks/x", true},
		{"touch /var/lib/cni/networks/x/lock", true},
		{"touch /var/lib/cni/networks/x/10.1.0.2", false},
	} {
		if _, err := n.Run("sh", "-c", strings.Replace(strings.Replace(c.command, "{", "'{", 1), "}", "}'", 1)); err != nil {
			t.Fatal(err)
		}
		text, err := n.Text()
		if err != nil {
			t.Fatal(err)
		}
		shared, left := Left(last, text, "cni0")
		if c.shared && len(shared) == 0 || !c.shared && len(left) == 0 {
			t.Errorf("%q is not seen: shared %q, left %q", c.command, shared, left)
		}
		if c.shared && len(left) != 0 {
			t.Errorf("%q is taken for a pod's: %q", c.command, left)
		}
		last = text
	}
	if _, left := Left(last, first); len(left) == 0 {
		t.Error("what is missing is not seen")
	}
}

func TestRunTellsWhatFailed(t *testing.T) {
	t.Parallel()
	n := mustNode(t)
	_, err := n.Run("ip", "link", "show", "dev", "none")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !strings.Contains(err.Error(), "node: ip link show dev none") || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("error: %v", err)
	}
}
