package main

import (
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestBadInput: a clear error, and neither kernel nor disk has changed.
func TestMoreBadInput(t *testing.T) {
	sysctl := func(key string) string { return `,"mtu":1400,"sysctl":{"` + key + `":"1"}` }
	for _, row := range []struct {
		name, keys string
		verb, args string
		code       uint
		words      string // separated by bars
	}{
		{name: "dots that climb", keys: sysctl("net.ipv4/../../kernel/x"), code: 7, words: "net.ipv4/../../kernel/x|not below net"},
		{name: "slashes that climb", keys: sysctl("net/ipv4/../../../etc/x"), code: 7, words: "not below net"},
		{name: "climbs at once", keys: sysctl("../etc/passwd"), code: 7, words: "not below net"},
		{name: "climbs and returns", keys: sysctl("net/../net/ipv4/ip_forward"), code: 7, words: "not below net"},
		{name: "here", keys: sysctl("net/./ipv4/ip_forward"), code: 7, words: "not below net"},
		{name: "absolute", keys: sysctl("/proc/sys/net/ipv4/ip_forward"), code: 7, words: "not below net"},
		{name: "a zero byte", keys: sysctl(`net/ipv4/ip_forward\u0000x`), code: 7, words: "not below net"},
		{name: "empty key", keys: sysctl(""), code: 7, words: "not below net"},
		{name: "the kernel's", keys: sysctl("kernel.shmmax"), code: 7, words: "kernel.shmmax|not below net"},
		{name: "looks like net", keys: sysctl("network.ipv4.ip_forward"), code: 7, words: "not below net"},
		{name: "net alone", keys: sysctl("net"), code: 7, words: "not below net"},
		{name: "the whole machine's", keys: sysctl("net.core.bpf_jit_enable"), code: 102, words: "no such setting|net/core/bpf_jit_enable|whole machine's"},
		{name: "to be read alone", keys: sysctl("net.ipv4.tcp_available_congestion_control"), code: 103, words: "can only be read"},
		{name: "no such key", keys: sysctl("net.ipv4.ip_forwarding"), code: 102, words: "no such setting|net/ipv4/ip_forwarding"},
		{name: "a group", keys: sysctl("net.ipv4.conf"), code: 100, words: "group"},
		{name: "another interface", keys: sysctl("net.ipv4.conf.eth7.arp_filter"), code: 102, words: "eth7"},
		{name: "bad value", keys: `,"mtu":1400,"sysctl":{"net.ipv4.ip_forward":"maybe"}`, code: 100, words: "net/ipv4/ip_forward=maybe|invalid argument"},
		{name: "two spellings", keys: `,"sysctl":{"net.ipv4.ip_forward":"1","net/ipv4/ip_forward":"0"}`, code: 7, words: "net.ipv4.ip_forward|net/ipv4/ip_forward|second time"},
		{name: "two names", keys: `,"sysctl":{"net.ipv4.conf.IFNAME.arp_filter":"1","net.ipv4.conf.eth0.arp_filter":"0"}`, code: 7, words: "second time"},
		{name: "a key twice", keys: `,"sysctl":{"net.ipv4.ip_forward":"1","net.ipv4.ip_forward":"0"}`, code: 7, words: "stands twice"},
		{name: "args climb", keys: `,"args":{"cni":{"sysctl":{"net/../kernel/x/y":"1"}}}`, code: 7, words: "not below net"},
		{name: "no MAC", keys: `,"mac":"zz"`, code: 7, words: "mac|zz"},
		{name: "a group's MAC", keys: `,"mac":"01:00:5e:00:00:01"`, code: 7, words: "unicast"},
		{name: "no address at all", keys: `,"mac":"00:00:00:00:00:00"`, code: 7, words: "unicast"},
		{name: "a longer MAC", keys: `,"mac":"02:00:5e:00:00:01:00:01"`, code: 7, words: "six bytes"},
		{name: "MAC of the runtime", keys: `,"runtimeConfig":{"mac":"x"},"mac":"02:00:5e:00:00:01"`, code: 7, words: `mac is "x"`},
		{name: "MAC of the arguments", keys: ``, args: "MAC=y", code: 7, words: `mac is "y"`},
		{name: "unknown argument", keys: `,"mtu":1400`, args: "FOO=1", code: 4, words: "FOO"},
		{name: "mtu too small", keys: `,"mtu":67`, code: 7, words: "mtu is 67|68"},
		{name: "mtu negative", keys: `,"mtu":-1`, code: 7, words: "mtu is -1"},
		{name: "mtu too large", keys: `,"mtu":65536`, code: 7, words: "mtu is 65536"},
		{name: "mtu of the arguments", keys: `,"args":{"cni":{"mtu":3}}`, code: 7, words: "mtu is 3"},
		{name: "queue negative", keys: `,"txQLen":-1`, code: 7, words: "txQLen is -1"},
		{name: "unknown feature", keys: `,"mtu":1400,"ethtool":{"tx-checksums":false}`, code: 100, words: "no feature|tx-checksums|ethtool -k"},
		{name: "fixed feature", keys: `,"mtu":1400,"ethtool":{"rx-all":true}`, code: 100, words: "eth0|rx-all"},
		{name: "mtu a string", keys: `,"mtu":"1400"`, code: 6, words: "mtu|whole number"},
		{name: "mac a number", keys: `,"mac":7`, code: 6, words: "mac|string"},
		{name: "promisc a string", keys: `,"promisc":"yes"`, code: 6, words: "promisc|true or false"},
		{name: "sysctl a list", keys: `,"sysctl":["net.ipv4.ip_forward"]`, code: 6, words: "sysctl|object"},
		{name: "sysctl a number", keys: `,"sysctl":{"net.ipv4.ip_forward":1}`, code: 6, words: "string"},
		{name: "ethtool a string", keys: `,"ethtool":{"tx-checksum-ip-generic":"off"}`, code: 6, words: "true or false"},
		{name: "relative dataDir", keys: `,"dataDir":"var","mtu":1400`, code: 7, words: "dataDir|slash"},
		{name: "unknown key, strict", keys: `,"strict":true,"txQlenn":3`, code: 2, words: "txQlenn|did you mean txQLen"},
		{name: "CHECK too", verb: "CHECK", keys: sysctl("kernel.shmmax"), code: 7, words: "not below net"},
		{name: "STATUS too", verb: "STATUS", keys: sysctl("kernel.shmmax"), code: 7, words: "not below net"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.refuses(kerneltest.Call{Bin: w.bin, Plugin: "tuning", Verb: row.verb, Args: row.args, Conf: w.conf(row.keys)}, row.code, strings.Split(row.words, "|")...)
		})
	}
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

// allow makes /etc the test's own, with an allowlist.
func (w world) allow(lines string) {
	w.Run("mount -t tmpfs tmpfs /etc; mkdir -p /etc/cni/tuning; printf '%s' '" + lines + "' > /etc/cni/tuning/allowlist.conf")
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
			w.allow(row.lines)
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
			w.allow("")
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
			w.allow(lines)
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
