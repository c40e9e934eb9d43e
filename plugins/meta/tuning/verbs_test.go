package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// world is a sandbox with a pod's link and the built plugin.
type world struct {
	*kerneltest.Sandbox
	t   *testing.T
	bin string
}

func newWorld(t *testing.T) world {
	t.Helper()
	t.Parallel()
	bin := kerneltest.Build(t, "plugins/meta/tuning")
	w := world{kerneltest.New(t), t, bin}
	w.Run(makeLink)
	return w
}

// makeLink is what a plugin before tuning in a chain has left, once the kernel
// is done with it.
const makeLink = `ip link add host0 type veth peer name eth0 address 02:bb:bb:bb:bb:bb netns "$POD"
ip link set host0 up; pod ip link set lo up; pod ip link set eth0 up; pod ip addr add 10.1.2.3/24 dev eth0
until ip -6 route show table all | grep -q 'ff00::/8 dev host0' && pod ip -6 route show table all | grep -q 'ff00::/8 dev eth0'; do sleep 0.02; done`

// everything shows the link, every setting of the network that does not count,
// and the features.
const everything = `pod ip -d link show eth0 2>&1 | sed -E 's/NO-CARRIER,//; s/,LOWER_UP//; s/ state [A-Z]+//; s/ mode DORMANT//'
pod sysctl -a 2>/dev/null | grep -E '^net\.(ipv4|ipv6|core)\.' | grep -vE 'route\.gc_|random|_count'
pod ethtool -k eth0 2>&1`

// Text is all that tuning may touch.
func (w world) Text() string { return w.Sandbox.Text() + w.Run(everything) }

const (
	head   = `{"cniVersion":"1.1.0","name":"n","type":"tuning"`
	record = "/run/cni/tuning/c1_eth0.json"
	some   = `,"mac":"02:00:5E:00:00:01","mtu":1400,"txQLen":77,"allmulti":true,"promisc":true` +
		`,"sysctl":{"net.ipv4.conf.IFNAME.arp_filter":"1","net.ipv4.ip_local_reserved_ports":"2100","net.ipv4.ip_local_port_range":"2000 3000"}` +
		`,"ethtool":{"tx-checksum-ip-generic":false}`
)

// conf is a configuration with a prevResult, which ADD and CHECK need.
func (w world) conf(keys string) string {
	return fmt.Sprintf(`%s%s,"prevResult":{"cniVersion":"1.1.0","interfaces":[{"name":"host0","mac":"02:cc:cc:cc:cc:cc"},`+
		`{"name":"eth0","mac":"02:bb:bb:bb:bb:bb","mtu":1500,"sandbox":%q}],"ips":[{"address":"10.1.2.3/24","interface":1}]}}`, head, keys, w.Pod)
}

func (w world) call(verb, keys string) kerneltest.Answer {
	w.t.Helper()
	return w.Call(kerneltest.Call{Bin: w.bin, Plugin: "tuning", Verb: verb, Conf: w.conf(keys)})
}

func (w world) must(verb, keys string) kerneltest.Answer {
	w.t.Helper()
	a := w.call(verb, keys)
	if a.Exit != 0 {
		w.t.Errorf("%s: code %d, %s\n%s", verb, a.Code, a.Msg, a.Stderr)
	}
	return a
}

func (w world) fails(verb, keys string, code uint, words ...string) {
	w.t.Helper()
	w.refuses(kerneltest.Call{Bin: w.bin, Plugin: "tuning", Verb: verb, Conf: w.conf(keys)}, code, words...)
}

// refuses is Refuses, and looks at all that tuning may touch.
func (w world) refuses(c kerneltest.Call, code uint, words ...string) {
	w.t.Helper()
	before := w.Text()
	w.Refuses(c, code, words...)
	w.Same("a refused call", before, w.Text())
}

func there(file string) bool { _, err := os.Stat(file); return err == nil }

func TestVerbs(t *testing.T) {
	w := newWorld(t)
	before := w.Text()
	w.must("STATUS", some)
	a := w.must("ADD", some)
	var result struct {
		Interfaces []struct {
			Name, Mac string
			Mtu       int
		}
	}
	if err := json.Unmarshal([]byte(a.Stdout), &result); err != nil {
		t.Fatal(err)
	}
	if host, pod := result.Interfaces[0], result.Interfaces[1]; host.Mac != "02:cc:cc:cc:cc:cc" || host.Mtu != 0 || pod.Mac != "02:00:5e:00:00:01" || pod.Mtu != 1400 {
		t.Errorf("result: %s", a.Stdout)
	}
	w.must("CHECK", some)
	if st, err := os.Stat(record); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st, err)
	}
	if st, err := os.Stat(filepath.Dir(record)); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", st, err)
	}
	var kept map[string]any
	b, _ := os.ReadFile(record)
	if err := json.Unmarshal(b, &kept); err != nil || kept["mac"] != "02:bb:bb:bb:bb:bb" || kept["mtu"] != 1500.0 ||
		kept["promisc"] != false || kept["allmulti"] != false || kept["txQLen"] != 1000.0 || kept["owner"] != "n/c1/eth0" {
		t.Errorf("%v %s", err, b)
	}
	w.must("DEL", some)
	w.must("DEL", some)
	w.Same("DEL", before, w.Text())
}

// TestSecondAdd keeps what was there before the first one, and so does another
// tuning of the same chain.
func TestTwoOfAChain(t *testing.T) {
	w := newWorld(t)
	before := w.Text()
	w.must("ADD", some)
	w.must("ADD", some)
	w.must("ADD", `,"mac":"02:00:5e:00:00:09","mtu":1300,"sysctl":{"net.ipv4.conf.IFNAME.arp_filter":"0","net.ipv4.ip_forward":"1"}`)
	w.must("DEL", "")
	w.must("DEL", some)
	w.Same("DEL", before, w.Text())
}

// TestFailedAdd: what came true before the failure is taken back.
func TestFailedAdd(t *testing.T) {
	w := newWorld(t)
	w.fails("ADD", some+`,"args":{"cni":{"mtu":65535,"sysctl":{"net.ipv4.tcp_congestion_control":"none such"}}}`, 102, "tcp_congestion_control=none such")
	w.Run("pod ip link add link eth0 name eth1 type macvlan && pod ip link set eth1 name v1; pod ip link set eth0 name w0; pod ip link set v1 name eth0")
	w.fails("ADD", `,"mac":"02:00:5e:00:00:01","promisc":true,"mtu":9000,"sysctl":{"net.ipv4.conf.IFNAME.arp_filter":"1"}`, 100, "tune pod eth0", "mtu 9000")
}

// TestDelLeniently: DEL has not to do with what is wrong with a configuration.
func TestDelLeniently(t *testing.T) {
	for what, keys := range map[string]string{
		"nothing":       ``,
		"a bad mac":     `,"mac":"x"`,
		"a bad sysctl":  `,"sysctl":{"kernel.shmmax":"1"}`,
		"a wrong type":  `,"mtu":"many"`,
		"a bad number":  `,"mtu":-7`,
		"a bad dataDir": `,"dataDir":"x"`,
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			before := w.Text()
			w.must("ADD", some)
			a := w.Call(kerneltest.Call{Bin: w.bin, Plugin: "tuning", Verb: "DEL", Args: "NOBODY=knows", Conf: head + keys + `}`})
			if a.Exit != 0 {
				t.Error(a.Msg)
			}
			w.Same("DEL", before, w.Text())
		})
	}
}

// TestDelWhenGone: whatever is gone needs nothing, and no file stays.
func TestDelWhenGone(t *testing.T) {
	for what, gone := range map[string]func(world) (netns string){
		"the link":              func(w world) string { w.Run("pod ip link del eth0"); return w.Pod },
		"the namespace":         func(w world) string { return "/run/netns/gone" },
		"another in its place":  func(w world) string { w.NewPod(w.Pod + "2"); return w.Pod + "2" },
		"a garbage file":        func(w world) string { w.Run("echo '{\"mac\":7' > " + record); return w.Pod },
		"a file of wrong types": func(w world) string { w.Run("echo '{\"mac\":7}' > " + record); return w.Pod },
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.must("ADD", some)
			a := w.Call(kerneltest.Call{Bin: w.bin, Plugin: "tuning", Verb: "DEL", Netns: gone(w), Conf: w.conf(some)})
			if a.Exit != 0 || there(record) {
				t.Errorf("%s; the file is there: %t", a.Msg, there(record))
			}
			if strings.Contains(what, "file") && !strings.Contains(a.Stderr, record) {
				t.Errorf("nobody is told: %q", a.Stderr)
			}
		})
	}
}

// TestGoneLinkRestoresSettings: what is the whole pod's comes back.
func TestGoneLinkRestoresSettings(t *testing.T) {
	w := newWorld(t)
	w.must("ADD", some)
	w.Run("pod ip link del eth0")
	w.must("DEL", some)
	if out := w.Run("pod sysctl -n net.ipv4.ip_local_reserved_ports net.ipv4.ip_local_port_range"); strings.Contains(out, "2100") || strings.Contains(out, "2000") {
		t.Error(out)
	}
}

// TestStaleFile: what was kept of a namespace that is gone says nothing of the
// one that came in its place. Upstream leaves such files without saying so.
func TestStaleFile(t *testing.T) {
	stale := `{"mac":"02:99:99:99:99:99","mtu":900`
	for what, content := range map[string]string{
		"ours":       stale + `,"owner":"n/c1/eth0","netns":"/run/x","netnsID":{"Dev":4,"Ino":1}}`,
		"upstream's": stale + `}`,
		"torn":       stale,
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			before := w.Text()
			w.Run("mkdir -p /run/cni/tuning; cat > " + record + " <<'X'\n" + content + "\nX")
			w.must("ADD", some)
			w.must("DEL", some)
			w.Same("DEL", before, w.Text())
		})
	}
}

// TestUpstreamsFile: what upstream has changed is brought back, also after
// another ADD.
func TestAddOnUpstreamsFile(t *testing.T) {
	w := newWorld(t)
	before := w.Text()
	w.Run("mkdir -p /run/cni/tuning; pod ip link set eth0 address 02:00:5e:00:00:01 mtu 1400 txqueuelen 77 allmulticast on promisc on")
	w.Run(`printf '{\n "mac": "02:bb:bb:bb:bb:bb",\n "promisc": false,\n "mtu": 1500,\n "allmulti": false,\n "txQLen": 1000\n}' > ` + record)
	w.must("ADD", some)
	w.must("DEL", some)
	w.Same("DEL", before, w.Text())
}

// TestNamesake: "c1_x" with "eth0" has the file name of "c1" with "x_eth0".
func TestNamesake(t *testing.T) {
	w := newWorld(t)
	w.Run("pod ip link add x_eth0 type veth peer name y")
	first := kerneltest.Call{Bin: w.bin, Plugin: "tuning", ContainerID: "c1_x", Conf: w.conf(some)}
	second := first
	second.ContainerID, second.IfName = "c1", "x_eth0"
	w.Must(first)
	tuned := w.Text()
	w.refuses(second, 101, "n/c1_x/eth0")
	second.Verb = "DEL"
	w.Must(second)
	w.Same("a namesake's DEL", tuned, w.Text())
}

// TestCheckIsFair: what others did, and how values are written, is no error.
func TestCheckIsFair(t *testing.T) {
	w := newWorld(t)
	keys := `,"mac":"02-00-5E-00-00-01","sysctl":{"net.ipv4.ip_local_port_range":"2000 3000"}`
	w.must("ADD", keys)
	w.Run("pod ip link set eth0 promisc on mtu 1300 allmulticast on")
	w.must("CHECK", keys)
	w.fails("CHECK", keys+`,"mtu":1400`, 104, "mtu 1400", "mtu is 1300")
	w.Run("pod ip link set eth0 address 02:00:5e:00:00:02")
	w.fails("CHECK", keys, 104, "02:00:5e:00:00:02")
}

func TestGCRestores(t *testing.T) {
	w := newWorld(t)
	before := w.Text()
	gc := func(network, valid string) {
		t.Helper()
		a := w.Call(kerneltest.Call{Bin: w.bin, Plugin: "tuning", Verb: "GC",
			Conf: `{"cniVersion":"1.1.0","name":"` + network + `","type":"tuning","cni.dev/valid-attachments":` + valid + `}`})
		if a.Exit != 0 {
			t.Errorf("GC: %s", a.Msg)
		}
	}
	w.must("ADD", some)
	// Upstream's files do not name their network: what libcni remembers does.
	w.Run(`for f in other stale; do echo '{"mac":"02:00:00:00:00:01"}' > /run/cni/tuning/${f}_eth0.json; done; echo x > /run/cni/tuning/garbage
		mkdir -p /var/lib/cni/results; touch /var/lib/cni/results/z-other-eth0 /var/lib/cni/results/n-stale-eth0`)
	tuned := w.Text()
	gc("n", `[{"containerID":"c1","ifname":"eth0"},{"containerID":"stale","ifname":"eth0"}]`)
	gc("m", `[]`)
	w.Same("GC of what is valid, or another network's", tuned, w.Text())
	gc("n", `[]`)
	w.Run("rm /run/cni/tuning/other_eth0.json /run/cni/tuning/garbage /var/lib/cni/results/*")
	w.Same("GC", before, w.Text())
}

func TestGCWithoutThePod(t *testing.T) {
	w := newWorld(t)
	w.must("ADD", some)
	w.Run(`umount "$POD"`)
	w.Must(kerneltest.Call{Bin: w.bin, Plugin: "tuning", Verb: "GC", Conf: head + `,"cni.dev/valid-attachments":[]}`})
	if there(record) {
		t.Error("the file is there still")
	}
}

// TestForAll: what is for all interfaces sets what is for each, comes before it,
// and takes it back.
func TestForAll(t *testing.T) {
	w := newWorld(t)
	w.Run("pod sysctl -qw net.ipv4.conf.lo.forwarding=1 net.ipv4.conf.all.accept_redirects=1")
	before := w.Text()
	keys := `,"sysctl":{"net.ipv4.conf.IFNAME.forwarding":"0","net.ipv4.ip_forward":"1","net.ipv6.conf.all.forwarding":"1","net.ipv6.conf.IFNAME.forwarding":"0","net.ipv4.route.flush":"1"}`
	w.must("ADD", keys)
	w.must("CHECK", keys)
	w.must("DEL", keys)
	w.Same("DEL", before, w.Text())
}

// TestCheckWithoutFile: upstream keeps none for what it does not restore.
func TestCheckWithoutFile(t *testing.T) {
	w := newWorld(t)
	keys := `,"sysctl":{"net.ipv4.conf.IFNAME.arp_filter":"1"}`
	w.Run("pod sysctl -qw net.ipv4.conf.eth0.arp_filter=1")
	w.must("CHECK", keys)
}

// TestWithoutLink: settings of the namespace alone need no link, as behind
// host-device where a driver in user space has the device. DEL puts them back.
func TestWithoutLink(t *testing.T) {
	w := newWorld(t)
	w.Run("pod ip link del eth0; pod sysctl -qw net.core.somaxconn=100")
	const keys = `,"sysctl":{"net.core.somaxconn":"500"}`
	for _, step := range []struct{ verb, want string }{{"ADD", "500"}, {"CHECK", "500"}, {"ADD", "500"}, {"DEL", "100"}, {"DEL", "100"}} {
		if a := w.call(step.verb, keys); a.Exit != 0 {
			t.Errorf("%s: code %d: %s", step.verb, a.Code, a.Msg)
		}
		if got := strings.TrimSpace(w.Run("pod sysctl -n net.core.somaxconn")); got != step.want {
			t.Errorf("%s: somaxconn is %s, not %s", step.verb, got, step.want)
		}
	}
	if a := w.call("ADD", `,"mtu":1400`); a.Code != 102 || !strings.Contains(a.Msg, "eth0") {
		t.Errorf("an mtu of no link: code %d: %s", a.Code, a.Msg)
	}
}
