package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestMTU: an MTU that would take the pod's IPv6 address away, or is more than what
// the link lies on has, is refused in words.
func TestMTU(t *testing.T) {
	const prev = `,"prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/n"}],"ips":[{"address":"%s","interface":0}]}`
	kerneltest.Refusals{
		Plugins: []string{"plugins/meta/tuning"}, Conf: kerneltest.Minimal("tuning"),
		Setup: kerneltest.Segment + `; ip link add link up0 name below type macvlan; ip link set below netns "$POD" name eth0; pod ip link set eth0 up`,
		Look:  "pod ip -d link; pod ip addr | sed 's/tentative //'", // which the kernel ends in its own time
		Rows: []kerneltest.Refusal{
			{Name: "too small for IPv6", Conf: `,"mtu":1279` + fmt.Sprintf(prev, "fd00:1:2::3/64"), Code: 7, Words: "mtu is 1279|1280|fd00:1:2::3/64"},
			{Name: "more than the master's", Conf: `,"mtu":9000` + fmt.Sprintf(prev, "10.1.2.3/24"), Code: 100, Words: "mtu 9000 is more than 1500|up0"},
		},
	}.Run(t)
}

// TestBadInput: a clear error, and neither kernel nor disk has changed.
func TestBadInput(t *testing.T) {
	sysctl := func(key string) string { return `,"mtu":1400,"sysctl":{"` + key + `":"1"}` }
	kerneltest.Refusals{
		Plugins: []string{"plugins/meta/tuning"},
		Conf:    conf,
		Setup:   makeLink,
		Look:    everything + "; true",
		Rows: []kerneltest.Refusal{
			{Name: "dots that climb", Conf: sysctl("net.ipv4/../../kernel/x"), Code: 7, Words: "net.ipv4/../../kernel/x|not below net"},
			{Name: "slashes that climb", Conf: sysctl("net/ipv4/../../../etc/x"), Code: 7, Words: "not below net"},
			{Name: "climbs at once", Conf: sysctl("../etc/passwd"), Code: 7, Words: "not below net"},
			{Name: "climbs and returns", Conf: sysctl("net/../net/ipv4/ip_forward"), Code: 7, Words: "not below net"},
			{Name: "here", Conf: sysctl("net/./ipv4/ip_forward"), Code: 7, Words: "not below net"},
			{Name: "absolute", Conf: sysctl("/proc/sys/net/ipv4/ip_forward"), Code: 7, Words: "not below net"},
			{Name: "a zero byte", Conf: sysctl(`net/ipv4/ip_forward\u0000x`), Code: 7, Words: "not below net"},
			{Name: "empty key", Conf: sysctl(""), Code: 7, Words: "not below net"},
			{Name: "the kernel's", Conf: sysctl("kernel.shmmax"), Code: 7, Words: "kernel.shmmax|not below net"},
			{Name: "looks like net", Conf: sysctl("network.ipv4.ip_forward"), Code: 7, Words: "not below net"},
			{Name: "net alone", Conf: sysctl("net"), Code: 7, Words: "not below net"},
			{Name: "the whole machine's", Conf: sysctl("net.core.bpf_jit_enable"), Code: 102, Words: "no such setting|net/core/bpf_jit_enable|whole machine's"},
			{Name: "to be read alone", Conf: sysctl("net.ipv4.tcp_available_congestion_control"), Code: 103, Words: "can only be read"},
			{Name: "no such key", Conf: sysctl("net.ipv4.ip_forwarding"), Code: 102, Words: "no such setting|net/ipv4/ip_forwarding"},
			{Name: "a group", Conf: sysctl("net.ipv4.conf"), Code: 100, Words: "group"},
			{Name: "another interface", Conf: sysctl("net.ipv4.conf.eth7.arp_filter"), Code: 102, Words: "eth7"},
			{Name: "bad value", Conf: `,"mtu":1400,"sysctl":{"net.ipv4.ip_forward":"maybe"}`, Code: 100, Words: "net/ipv4/ip_forward=maybe|invalid argument"},
			{Name: "two spellings", Conf: `,"sysctl":{"net.ipv4.ip_forward":"1","net/ipv4/ip_forward":"0"}`, Code: 7, Words: "net.ipv4.ip_forward|net/ipv4/ip_forward|second time"},
			{Name: "two names", Conf: `,"sysctl":{"net.ipv4.conf.IFNAME.arp_filter":"1","net.ipv4.conf.eth0.arp_filter":"0"}`, Code: 7, Words: "second time"},
			{Name: "a key twice", Conf: `,"sysctl":{"net.ipv4.ip_forward":"1","net.ipv4.ip_forward":"0"}`, Code: 7, Words: "stands twice"},
			{Name: "args climb", Conf: `,"args":{"cni":{"sysctl":{"net/../kernel/x/y":"1"}}}`, Code: 7, Words: "not below net"},
			{Name: "no MAC", Conf: `,"mac":"zz"`, Code: 7, Words: "mac|zz"},
			{Name: "a group's MAC", Conf: `,"mac":"01:00:5e:00:00:01"`, Code: 7, Words: "unicast"},
			{Name: "five bytes", Conf: `,"mac":"02:00:00:00:01"`, Code: 7, Words: "mac is \"02:00:00:00:01\"|six bytes"},
			{Name: "an interface's pattern", Verb: "ADD", IfName: "eth%d", Code: 4, Words: "CNI_IFNAME is \"eth%d\"|'%'"},
			{Name: "no address at all", Conf: `,"mac":"00:00:00:00:00:00"`, Code: 7, Words: "stands for no address"},
			{Name: "a longer MAC", Conf: `,"mac":"02:00:5e:00:00:01:00:01"`, Code: 7, Words: "six bytes"},
			{Name: "MAC of the runtime", Conf: `,"runtimeConfig":{"mac":"x"},"mac":"02:00:5e:00:00:01"`, Code: 7, Words: `mac is "x"`},
			{Name: "MAC of the arguments", Args: "MAC=y", Code: 7, Words: `mac is "y"`},
			{Name: "unknown argument", Conf: `,"mtu":1400`, Args: "FOO=1", Code: 4, Words: "FOO"},
			{Name: "mtu too small", Conf: `,"mtu":67`, Code: 7, Words: "mtu is 67|68"},
			{Name: "mtu negative", Conf: `,"mtu":-1`, Code: 7, Words: "mtu is -1"},
			{Name: "mtu too large", Conf: `,"mtu":65536`, Code: 7, Words: "mtu is 65536"},
			{Name: "mtu of the arguments", Conf: `,"args":{"cni":{"mtu":3}}`, Code: 7, Words: "mtu is 3"},
			{Name: "queue negative", Conf: `,"txQLen":-1`, Code: 7, Words: "txQLen is -1"},
			{Name: "unknown feature", Conf: `,"mtu":1400,"ethtool":{"tx-checksums":false}`, Code: 100, Words: "no feature|tx-checksums|ethtool -k"},
			{Name: "fixed feature", Conf: `,"mtu":1400,"ethtool":{"rx-all":true}`, Code: 100, Words: "eth0|rx-all"},
			{Name: "mtu a string", Conf: `,"mtu":"1400"`, Code: 6, Words: "mtu|whole number"},
			{Name: "mac a number", Conf: `,"mac":7`, Code: 6, Words: "mac|string"},
			{Name: "promisc a string", Conf: `,"promisc":"yes"`, Code: 6, Words: "promisc|true or false"},
			{Name: "sysctl a list", Conf: `,"sysctl":["net.ipv4.ip_forward"]`, Code: 6, Words: "sysctl|object"},
			{Name: "sysctl a number", Conf: `,"sysctl":{"net.ipv4.ip_forward":1}`, Code: 6, Words: "wrong type: sysctl.net.ipv4.ip_forward is to be a string"},
			{Name: "ethtool a string", Conf: `,"ethtool":{"tx-checksum-ip-generic":"off"}`, Code: 6, Words: "true or false"},
			{Name: "relative dataDir", Conf: `,"dataDir":"var","mtu":1400`, Code: 7, Words: "dataDir|slash"},
			{Name: "unknown key, strict", Conf: `,"strict":true,"txQlenn":3`, Code: 2, Words: "txQlenn|did you mean txQLen"},
			{Name: "out by dots", Conf: `,"sysctl":{"net/ipv4/../../kernel/x":"1"}`, Code: 7, Words: "not below net"},
			{Name: "an absolute path", Conf: `,"sysctl":{"/etc/passwd":"1"}`, Code: 7, Words: "not below net"},
			{Name: "a double slash", Conf: `,"sysctl":{"net//ipv4/x":"1"}`, Code: 7, Words: "not below net"},
			{Name: "two lines", Conf: `,"sysctl":{"net.core.somaxconn":"1\n2"}`, Code: 7, Words: "no line of text"},
			{Name: "a value the kernel refuses", Conf: `,"sysctl":{"net.core.somaxconn":"many"},"mtu":1400`, Code: 100, Words: "somaxconn=many"},
			{Name: "not allowed", Conf: `,"sysctl":{"net.ipv4.ip_forward_use_pmtu":"1"}`, Setup: allowing("net.ipv4.ip_forward"), Code: 7, Words: "not allowed"},
			{Name: "an empty allowlist", Conf: `,"sysctl":{"net.core.somaxconn":"1"}`, Setup: allowing(""), Code: 7, Words: "not allowed"},
			{Name: "a broken allowlist", Conf: `,"sysctl":{"net.core.somaxconn":"1"}`, Setup: allowing("("), Code: 7, Words: "allowlist.conf"},
			{Name: "a group's MAC of the arguments", Args: "MAC=01:00:5e:00:00:01", Code: 7, Words: "unicast"},
			{Name: "another fixed feature", Conf: `,"ethtool":{"loopback":true},"mtu":1400`, Code: 100, Words: "loopback"},
			{Name: "no interface", Conf: `,"mtu":1400`, Setup: "ip link del host0", Code: 102, Words: "eth0"},
			{Name: "prevResult twice", Conf: `,"prevResult":null,"mtu":1400`, Code: 7, Words: "stands twice"},
			{Name: "CHECK too", Conf: sysctl("kernel.shmmax"), Verb: "CHECK", Code: 7, Words: "not below net"},
			{Name: "STATUS too", Conf: sysctl("kernel.shmmax"), Verb: "STATUS", Code: 7, Words: "not below net"},
		},
	}.Run(t)
}

func TestWithoutWhatIsNeeded(t *testing.T) {
	w := newWorld(t)
	call := kerneltest.Call{Bin: w.bin, Plugin: "tuning", Conf: head + `,"mtu":1400}`}
	w.refuses(call, 7, "prevResult")
	call.Verb = "CHECK"
	w.refuses(call, 7, "prevResult")
	w.refuses(kerneltest.Call{Bin: w.bin, Plugin: "tuning", Netns: "/run/netns/none", Conf: w.conf(some)}, 102, "/run/netns/none")
	w.refuses(kerneltest.Call{Bin: w.bin, Plugin: "tuning", IfName: "eth9", Conf: w.conf(some)}, 102, "eth9")
	w.Run("mkdir -p /run/cni; touch /run/cni/tuning")
	w.fails("ADD", some, 100, "/run/cni/tuning")
}

func TestArgumentsAreIgnored(t *testing.T) {
	w := newWorld(t)
	w.Must(kerneltest.Call{Bin: w.bin, Plugin: "tuning", Args: "IgnoreUnknown=1;K8S_POD_NAME=x;MAC=02:00:5e:00:00:07", Conf: w.conf("")})
	if out := w.Run("pod ip link show eth0"); !strings.Contains(out, "02:00:5e:00:00:07") {
		t.Error(out)
	}
}

func TestUnknownKeyIsWarnedOf(t *testing.T) {
	w := newWorld(t)
	a := w.must("ADD", `,"promsic":true`)
	if !strings.Contains(a.Stderr, "promsic") || !strings.Contains(a.Stderr, "promisc") {
		t.Errorf("stderr: %q", a.Stderr)
	}
}

// allowing is a shell command that makes /etc the test's own, with an allowlist.
func allowing(lines string) string {
	return "mount -t tmpfs tmpfs /etc; mkdir -p /etc/cni/tuning; printf '%s' '" + lines + "' > /etc/cni/tuning/allowlist.conf"
}

func TestAllowlistSpellings(t *testing.T) {
	for _, row := range []struct {
		name, lines, key string
		allowed          bool
	}{
		{"a key", `net.ipv4.ip_forward`, "net.ipv4.ip_forward", true},
		{"not its like", `net.ipv4.ip_forward`, "net.ipv4.ip_forward_use_pmtu", false},
		{"nor what ends so", `ip_forward`, "net.ipv4.ip_forward", false},
		{"slashes for dots", `net\.ipv4\.ip_forward`, "net/ipv4/ip_forward", true},
		{"dots for slashes", `net/ipv4/ip_forward`, "net.ipv4.ip_forward", true},
		{"anchored already", `^net.ipv4.conf.IFNAME.arp_filter$`, "net.ipv4.conf.IFNAME.arp_filter", true},
		{"by the interface", `^net.ipv4.conf.eth0.arp_filter$`, "net/ipv4/conf/IFNAME/arp_filter", true},
		{"a choice is one whole", `net.ipv4.a|net.ipv4.b`, "net.ipv4.ip_forward", false},
		{"a pattern", "\n\n^net\\.ipv4\\.ip_[a-z]+$\n\n", "net.ipv4.ip_forward", true},
		{"empty", ``, "net.ipv4.ip_forward", false},
		{"blank", " \n\n", "net.ipv4.ip_forward", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.Run(allowing(row.lines))
			w.must("STATUS", "")
			keys := `,"mtu":1400,"sysctl":{"` + row.key + `":"1"}`
			if !row.allowed {
				w.fails("ADD", keys, 7, row.key, "not allowed", "allowlist.conf")
				w.must("ADD", `,"mtu":1400`)
				w.fails("ADD", `,"args":{"cni":{"sysctl":{"`+row.key+`":"1"}}}`, 7, "not allowed")
				return
			}
			w.must("ADD", keys)
			w.Run("umount /etc")
			w.Run(allowing(""))
			w.must("CHECK", keys) // what is attached may stay as it is
		})
	}
}

func TestBadAllowlist(t *testing.T) {
	for lines, words := range map[string]string{
		"net.*\n(net\n": "line 2",
		"x)|(?:net.*":   "line 1",
		"net.[\n\n*net": "line 3",
	} {
		t.Run(words, func(t *testing.T) {
			w := newWorld(t)
			w.Run(allowing(lines))
			w.fails("ADD", `,"sysctl":{"net.ipv4.ip_forward":"1"}`, 7, "allowlist.conf "+words)
			w.fails("STATUS", ``, 50, "allowlist.conf "+words)
			w.must("ADD", `,"mtu":1400`)
			w.must("DEL", `,"sysctl":{"net.ipv4.ip_forward":"1"}`)
		})
	}
}

func TestStatus(t *testing.T) {
	w := newWorld(t)
	w.must("STATUS", `,"dataDir":"/run/not/yet"`)
	w.Run("mkdir /run/ro; mount -t tmpfs -o ro tmpfs /run/ro")
	w.fails("STATUS", `,"dataDir":"/run/ro"`, 50, "/run/ro", "read-only")
	w.fails("ADD", `,"dataDir":"/run/ro","mtu":1400`, 100, "/run/ro", "read-only")
}
