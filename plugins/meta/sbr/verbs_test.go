package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

const (
	head = `{"cniVersion":"1.1.0","name":"n","type":"sbr"`
	prev = "," + kerneltest.TwoNetworksPrev
)

// world is a sandbox with two networks in the pod and the built plugin.
type world struct {
	*kerneltest.Sandbox
	t   *testing.T
	bin string
}

func newWorld(t *testing.T) world {
	t.Helper()
	t.Parallel()
	bin := kerneltest.Build(t, "plugins/meta/sbr")
	w := world{kerneltest.New(t), t, bin}
	w.Run(kerneltest.TwoNetworks)
	return w
}

func (w world) must(verb, keys string) kerneltest.Answer {
	w.t.Helper()
	return w.Must(kerneltest.Call{Bin: w.bin, Plugin: "sbr", Verb: verb, Conf: head + prev + keys + "}"})
}

// TestVerbs: the result is the one of the plugin before, and all is as the
// verbs say.
func TestVerbs(t *testing.T) {
	w := newWorld(t)
	before := w.Text()
	w.must("STATUS", "")
	a := w.must("ADD", "")
	for _, part := range []string{`"10.1.2.3/24"`, `"02:00:00:00:00:01"`, `"10.77.0.0/16"`, `"mtu": 1500`} {
		if !strings.Contains(a.Stdout, part) {
			t.Errorf("the result has no %s: %s", part, a.Stdout)
		}
	}
	w.must("CHECK", "")
	w.must("GC", `,"cni.dev/valid-attachments":[]`)
	w.must("CHECK", "")
	w.must("DEL", "")
	w.must("DEL", "")
	w.Same("DEL", before, w.Text())
}

// TestTables: of both families every route is in the address's table, with its
// paths and metrics, and the main table has only what the kernel keeps there.
func TestTables(t *testing.T) {
	w := newWorld(t)
	w.must("ADD", "")
	w.Has("pod ip route show table 100", "via 10.1.2.1 dev eth0 weight 1", "via 10.1.2.2 dev eth0 weight 3", "10.1.2.0/24 dev eth0", "10.77.0.0/16 via 10.1.2.1 dev eth0 mtu 1400", "10.78.0.0/16 dev eth0 scope link metric 7")
	w.Has("pod ip -6 route show table 101", "via fd00:1:2::1 dev eth0", "via fe80::1 dev eth0", "fd00:1:2::/64 dev eth0", "fd00:77::/48 via fd00:1:2::1 dev eth0 metric 9", "fe80::/64 dev eth0")
	w.Lacks("pod ip route show table main", "eth0")
	w.Has("pod ip -6 route show table main", "fe80::/64 dev eth0", "default via fd00:9::1 dev mgmt0")
	w.Lacks("pod ip -6 route show table main", "fd00:1:2", "fd00:77", "via fe80::1")
	w.Has("pod ip route get 192.0.2.1 from 10.1.2.3", "dev eth0")
	w.Has("pod ip route get 192.0.2.1 from 10.1.2.3 mark 0x7", "dev eth0")
	w.Has("pod ip -6 route get 2001:db8::1 from fd00:1:2::3", "dev eth0")
	w.Has("pod ip route get 192.0.2.1", "dev mgmt0 src 10.9.0.2")
	w.Has("pod ip -6 route get 2001:db8::1", "dev mgmt0")
}

// TestOwnSubnetByGateway: a route to the subnet that goes by a gateway comes before
// the kernel's in the address's table too, and again in the main one after DEL.
func TestOwnSubnetByGateway(t *testing.T) {
	w := newWorld(t)
	w.Run("pod ip route prepend 10.1.2.0/24 via 10.1.2.9 dev eth0")
	before := w.Text()
	w.must("ADD", "")
	w.Has("pod ip route get 10.1.2.77 from 10.1.2.3", "via 10.1.2.9 dev eth0")
	w.Has("pod ip route get 10.1.2.77", "dev mgmt0")
	w.must("CHECK", "")
	w.must("DEL", "")
	w.Same("DEL", before, w.Text())
	w.Has("pod ip route get 10.1.2.77", "via 10.1.2.9 dev eth0")
}

// TestGateways come before the default routes that there are, and hints leave
// the subnets where they were.
func TestGateways(t *testing.T) {
	w := newWorld(t)
	before := w.Text()
	keys := `,"gateways":["10.1.2.254","fe80::fe"],"addSourceHints":true`
	w.must("ADD", keys)
	w.must("CHECK", keys)
	w.Has("pod ip route get 192.0.2.1 from 10.1.2.3", "via 10.1.2.254 dev eth0")
	w.Has("pod ip -6 route get 2001:db8::1 from fd00:1:2::3", "via fe80::fe dev eth0")
	w.Has("pod ip route get 10.1.2.77", "dev eth0 src 10.1.2.3")
	w.Has("pod ip -6 route get fd00:1:2::77", "dev eth0", "src fd00:1:2::3")
	w.Has("pod ip -6 route show table main", "fd00:1:2::/64 dev eth0 proto 202 src fd00:1:2::3", "fe80::/64 dev eth0")
	w.Lacks("pod ip route show table main", "via 10.1.2", "10.78.0.0")
	w.must("DEL", "")
	w.Same("DEL", before, w.Text())
}

// TestWithoutDefault: a default route is made where the main table has
// none, also one whose gateway is on no subnet of the pod's.
func TestWithoutDefault(t *testing.T) {
	w := newWorld(t)
	w.Run("pod ip route del default dev eth0; pod ip -6 route del default dev eth0")
	conf := head + `,"prevResult":{"cniVersion":"1.1.0","ips":[{"address":"10.1.2.3/24","gateway":"169.254.1.1"},{"address":"fd00:1:2::3/64","gateway":"fd00:1:2::1"}]}}`
	call := kerneltest.Call{Bin: w.bin, Plugin: "sbr", Conf: conf}
	w.Must(call)
	w.Has("pod ip route show table 100", "default via 169.254.1.1 dev eth0 proto 202 onlink")
	w.Has("pod ip -6 route show table 101", "default via fd00:1:2::1 dev eth0 proto 202")
	call.Verb = "CHECK"
	w.Must(call)
}

// TestSeveralAddresses: each has a table with what belongs to it.
func TestSeveralAddresses(t *testing.T) {
	w := newWorld(t)
	w.Run("pod ip addr add 10.1.5.6/24 dev eth0; pod ip route add 10.90.0.0/16 via 10.1.5.1 dev eth0; pod ip route add 10.91.0.0/16 via 10.99.0.1 dev eth0 onlink")
	before := w.Text()
	call := kerneltest.Call{Bin: w.bin, Plugin: "sbr", Conf: head + `,"prevResult":{"cniVersion":"1.1.0","ips":[{"address":"10.1.2.3/24","gateway":"10.1.2.1"},{"address":"10.1.5.6/24","gateway":"10.1.5.1"}]}}`}
	w.Must(call)
	w.Has("pod ip route show table 100", "via 10.1.2.1", "10.1.2.0/24", "10.91.0.0/16")
	w.Lacks("pod ip route show table 100", "10.1.5.", "10.90.0.0")
	w.Has("pod ip route show table 101", "default via 10.1.5.1", "10.1.5.0/24", "10.90.0.0/16", "10.91.0.0/16", "10.78.0.0/16")
	w.Lacks("pod ip route show table 101", "10.1.2.")
	w.Lacks("pod ip route show table main", "eth0")
	// IPv6 has no address in the result: its routes are nobody's to move.
	w.Has("pod ip -6 route show table main", "fd00:1:2::/64 dev eth0")
	call.Verb = "DEL"
	w.Must(call)
	w.Same("DEL", before, w.Text())
}

// TestTakenTables: no table is chosen that anything uses, of either family.
func TestTakenTables(t *testing.T) {
	w := newWorld(t)
	w.Run("pod ip rule add from 10.66.0.1 lookup 100; pod ip -6 rule add from fd00:66::1 lookup 101; pod ip route add 10.66.0.0/16 dev mgmt0 table 102; pod ip -6 route add fd00:66::/48 dev mgmt0 table 103")
	before := w.Text()
	w.must("ADD", "")
	w.Has("pod ip rule", "from 10.1.2.3 fwmark", "lookup 104")
	w.Has("pod ip -6 rule", "from fd00:1:2::3 fwmark", "lookup 105")
	w.must("DEL", "")
	w.Same("DEL", before, w.Text())
}

// TestTogether: interfaces of one pod that are attached at the same time have
// no table in common, and each DEL takes its own.
func TestTogether(t *testing.T) {
	w := newWorld(t)
	const n = 12
	for i := range n {
		w.Run(fmt.Sprintf(`ip link add h%[1]d type veth peer name e%[1]d netns "$POD"; ip link set h%[1]d up; pod ip link set e%[1]d up; pod ip addr add 10.5.%[1]d.2/24 dev e%[1]d`, i))
	}
	calls := func(verb string) (all []kerneltest.Call) {
		for i := range n {
			conf := head + fmt.Sprintf(`,"prevResult":{"cniVersion":"1.1.0","ips":[{"address":"10.5.%[1]d.2/24","gateway":"10.5.%[1]d.1"}]}}`, i)
			all = append(all, kerneltest.Call{Bin: w.bin, Plugin: "sbr", Verb: verb, IfName: fmt.Sprintf("e%d", i), Conf: conf})
		}
		return all
	}
	w.Together(calls("ADD")...)
	if tables := strings.TrimSpace(w.Run("pod ip rule | grep -o 'lookup 1[0-9][0-9]' | sort -u | wc -l")); tables != fmt.Sprint(n) {
		t.Errorf("%s tables for %d interfaces:\n%s", tables, n, w.Run("pod ip rule"))
	}
	w.Together(calls("CHECK")...)
	w.Together(calls("DEL")...)
	w.Lacks("pod ip rule", "10.5.")
}

// TestDelWhenGone: the rules go without the addresses, without the link and
// without what the configuration had; where nothing is, nothing comes.
func TestDelWhenGone(t *testing.T) {
	for what, gone := range map[string]string{
		"the addresses": "pod ip addr flush dev eth0 scope global",
		"the link":      "ip link del heth0",
		"the tables":    "pod ip route flush table 100; pod ip -6 route flush table 101",
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.must("ADD", "")
			w.Run("pod ip rule add from 10.1.2.3 lookup 5000; pod ip route add default dev mgmt0 table 5000")
			w.Run(gone)
			w.Must(kerneltest.Call{Bin: w.bin, Plugin: "sbr", Verb: "DEL", Conf: head + `,"gateways":["x"]}`})
			w.Lacks("pod ip rule; pod ip -6 rule", "fwmark", "lookup 100", "lookup 101")
			w.Has("pod ip rule", "lookup 5000")
		})
	}
	t.Run("the namespace", func(t *testing.T) {
		w := newWorld(t)
		path := filepath.Join(t.TempDir(), "gone")
		for _, netns := range []string{path, filepath.Join(path, "deeper")} {
			w.Must(kerneltest.Call{Bin: w.bin, Plugin: "sbr", Verb: "DEL", Netns: netns, Conf: head + prev + "}"})
			if _, err := os.Lstat(netns); err == nil {
				t.Errorf("%s is there", netns)
			}
		}
	})
}

// TestGivenTable: a table that others fill is pointed at, and never touched.
func TestGivenTable(t *testing.T) {
	w := newWorld(t)
	w.Run("pod ip route add default via 10.1.2.9 dev eth0 table 5001")
	before := w.Text()
	w.must("ADD", `,"table":5001`)
	w.must("CHECK", `,"table":5001`)
	w.Has("pod ip route get 192.0.2.1 from 10.1.2.3", "via 10.1.2.9")
	w.must("DEL", "") // the configuration has changed since
	w.Same("DEL", before, w.Text())
}

// TestManyWays: of an IPv6 route by two links, the link's part is moved.
func TestManyWays(t *testing.T) {
	w := newWorld(t)
	w.Run("pod ip -6 route del default dev eth0; pod ip -6 route add default metric 3 nexthop via fd00:9::1 dev mgmt0 nexthop via fd00:1:2::1 dev eth0")
	before := w.Text()
	w.must("ADD", "")
	w.Has("pod ip -6 route show table 101", "default via fd00:1:2::1 dev eth0 metric 3")
	w.Has("pod ip -6 route show table main", "default via fd00:9::1 dev mgmt0 metric 3")
	w.Lacks("pod ip -6 route show table main", "fd00:1:2")
	w.must("DEL", "")
	w.Same("DEL", before, w.Text())
}

// TestUpgrade: what upstream has made our DEL removes, and what we have made
// upstream's.
func TestUpgrade(t *testing.T) {
	for _, way := range []struct{ what, add, del string }{{"ours after upstream's", "upstream", "sbr"}, {"upstream's after ours", "sbr", "upstream"}} {
		t.Run(way.what, func(t *testing.T) {
			w := newWorld(t)
			dir := map[string]string{"sbr": w.bin, "upstream": filepath.Dir(kerneltest.Upstream(t, "sbr"))}
			w.Run("pod ip -6 route del default dev eth0") // upstream takes no route by two ways
			call := kerneltest.Call{Bin: dir[way.add], Plugin: "sbr", Conf: strings.Replace(head, "1.1.0", "1.0.0", 1) + strings.Replace(prev, "1.1.0", "1.0.0", 1) + "}"}
			w.Must(call)
			w.Has("pod ip rule", "from 10.1.2.3")
			w.Has("pod ip -6 rule", "from fd00:1:2::3")
			w.Run("pod ip rule add from 10.1.2.0/24 lookup 5000; pod ip rule add from 10.77.0.1 lookup 100")
			call.Verb, call.Bin = "DEL", dir[way.del]
			w.Must(call)
			w.Lacks("pod ip rule; pod ip -6 rule", "10.1.2.3", "fd00:1:2::3")
			w.Has("pod ip rule", "from 10.1.2.0/24 lookup 5000", "from 10.77.0.1 lookup 100")
		})
	}
}

// TestLocked: who holds the pod's lock is waited for, and DEL needs no lock.
func TestLocked(t *testing.T) {
	w := newWorld(t)
	w.must("ADD", "")
	unlock, err := w.Kernel().LockPod()
	if err != nil {
		t.Fatal(err)
	}
	w.must("DEL", "")
	unlock()
	w.must("ADD", "")
}
