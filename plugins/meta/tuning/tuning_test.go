package main

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plugintest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

func ptr[T any](v T) *T { return &v }

func full() Conf {
	return Conf{
		Settings: Settings{
			Sysctl: map[string]string{"net.ipv4.conf.IFNAME.log_martians": "1", "net/core/somaxconn": "777", "net.ipv4.ip_local_port_range": "2000 3000"},
			MAC:    "02:00:00:AA:BB:CC", MTU: 1400, Promisc: ptr(true), AllMulti: ptr(true), TxQLen: ptr(500),
		},
		Ethtool: map[string]bool{"tx-checksum-ip-generic": false},
	}
}

// planOf leaves out what ADD asks the machine: its allowlist.
func planOf(t *testing.T, id string, c Conf) fact.Plan {
	t.Helper()
	p := tuningPlugin
	p.Complete = nil
	return plugintest.Plan(t, p, id, c, "10.1.2.3/24")
}

func TestWant(t *testing.T) {
	plugintest.Golden(t, map[string]fact.Plan{
		"full": planOf(t, "c1", full()),
		"mac":  planOf(t, "c1", Conf{RuntimeConfig: RuntimeConfig{MAC: "02:00:00:00:00:01"}}),
		"args": planOf(t, "c1", Conf{
			Settings: Settings{MTU: 1300, Promisc: ptr(false)},
			CNIArgs:  Args{Settings{Sysctl: map[string]string{"net.core.somaxconn": "1"}, MTU: 1200}},
		}),
		"none": planOf(t, "c1", Conf{}),
	})
}

// setup makes the interface as a plugin before this one would.
func setup(s *kerneltest.Sandbox) { s.Run(makeLink) }

// values is everything that tuning may touch.
const values = `pod ip -d link show eth0 | grep -o 'mtu [0-9]*\|link/ether [0-9a-f:]*\|qlen [0-9]*\|PROMISC\|ALLMULTI'; ` +
	`pod sysctl net.ipv4.conf.eth0.log_martians net.core.somaxconn net.ipv4.ip_local_port_range; pod ethtool -k eth0 | grep checksum`

func TestLaws(t *testing.T) {
	kerneltest.Prove(t, kerneltest.Case{
		Setup: setup, Look: values, Again: true,
		Plan: planOf(t, "c1", full()), Other: planOf(t, "c0", full()),
		Undo: []kerneltest.Undo{
			{Fact: `^nft  restore`},
			{Fact: "^save"},
			{Fact: "^sysctl", Command: "pod sysctl -q net.core.somaxconn=5"},
			{Fact: "^nft"},
			{Fact: "^tune pod eth0 mac", Command: "pod ip link set eth0 txqueuelen 7"},
			{Fact: "^tune pod eth0 tx-", Command: "pod ethtool -K eth0 tx-checksum-ip-generic on"},
		},
	})
}

const prev = `"prevResult":{"cniVersion":"1.1.0","interfaces":[{"name":"host0","mac":"02:00:00:00:00:09"},{"name":"eth0","mac":"02:00:00:00:00:08","mtu":1500,"sandbox":"/n"}],"ips":[{"address":"10.1.2.3/24","interface":1}]}`

func conf(more string) string {
	return `{"cniVersion":"1.1.0","name":"n","type":"tuning",` + prev + more + `}`
}

// TestResult: the interface's new values are in it, and nothing else is new.
func TestResult(t *testing.T) {
	t.Parallel()
	bin := kerneltest.Build(t, "plugins/meta/tuning")
	s := kerneltest.New(t)
	setup(s)
	out := s.Must(kerneltest.Call{Bin: bin, Plugin: "tuning", Conf: conf(`,"mac":"02:00:00:AA:BB:CC","mtu":1400`)}).Stdout
	for _, w := range []string{"02:00:00:00:00:09", "02:00:00:aa:bb:cc", "1400"} {
		if !strings.Contains(out, w) {
			t.Errorf("no %s in %s", w, out)
		}
	}
}

// TestSecondAdd changes nothing, and the originals stay saved.
func TestSecondAdd(t *testing.T) {
	t.Parallel()
	bin := kerneltest.Build(t, "plugins/meta/tuning")
	s := kerneltest.New(t)
	setup(s)
	before := s.Run(values)
	call := kerneltest.Call{Bin: bin, Plugin: "tuning", Conf: conf(`,"mtu":1400,"sysctl":{"net.core.somaxconn":"5"}`)}
	s.Must(call)
	s.Must(call) // finds what it is to make, and keeps what was before
	call.Verb = "DEL"
	s.Must(call)
	s.Same("DEL", before, s.Run(values))
}

// TestDel takes back what the file says, whatever the configuration says now.
func TestDel(t *testing.T) {
	for name, c := range map[string]string{
		"another configuration": conf(`,"mtu":1200`), "none": conf(""), "a broken one": conf(`,"mtu":"x","sysctl":{"kernel.x":"1"}`),
		"no prevResult": `{"cniVersion":"1.1.0","name":"n","type":"tuning"}`, "unknown arguments": conf(`,"args":{"cni":{"sysctl":7}}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bin := kerneltest.Build(t, "plugins/meta/tuning")
			s := kerneltest.New(t)
			setup(s)
			before := s.Run(values)
			call := kerneltest.Call{Bin: bin, Plugin: "tuning", Conf: conf(`,"mtu":1400,"promisc":true,"sysctl":{"net.core.somaxconn":"5"},"ethtool":{"tx-checksum-ip-generic":false}`)}
			s.Must(call)
			call.Verb, call.Conf, call.Args = "DEL", c, "FOO=1"
			s.Must(call)
			s.Must(call)
			s.Same("DEL", before, s.Run(values))
			if files := s.Run("ls /run/cni/tuning"); files != "" {
				t.Errorf("left: %s", files)
			}
		})
	}
}

// TestGone: the interface, the namespace, or the file is.
func TestGone(t *testing.T) {
	for name, gone := range map[string]string{
		"the interface": "ip link del host0", "the namespace": "true", "a garbage file": "echo hello > /run/cni/tuning/c1_eth0.json",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bin := kerneltest.Build(t, "plugins/meta/tuning")
			s := kerneltest.New(t)
			setup(s)
			call := kerneltest.Call{Bin: bin, Plugin: "tuning", Conf: conf(`,"mtu":1400`)}
			s.Must(call)
			s.Run(gone)
			call.Verb = "DEL"
			if name == "the namespace" {
				call.Netns = "/nowhere"
			}
			s.Must(call)
			if files := s.Run("ls /run/cni/tuning"); files != "" {
				t.Errorf("left: %s", files)
			}
		})
	}
}

// TestKilled at any moment of an ADD: DEL puts everything back.
func TestKilled(t *testing.T) {
	kerneltest.NeedsTime(t)
	t.Parallel()
	bin := kerneltest.Build(t, "plugins/meta/tuning")
	s := kerneltest.New(t)
	setup(s)
	before := s.Run(values)
	c := conf(`,"mtu":1400,"mac":"02:00:00:00:00:77","txQLen":9,"sysctl":{"net.core.somaxconn":"5","net.ipv4.conf.eth0.log_martians":"1"},"ethtool":{"tx-checksum-ip-generic":false}`)
	for range 30 {
		cmd := exec.Command(filepath.Join(bin, "tuning"))
		cmd.Env = []string{"CNI_COMMAND=ADD", "CNI_CONTAINERID=c1", "CNI_NETNS=" + s.Pod, "CNI_IFNAME=eth0"}
		cmd.Stdin = strings.NewReader(c)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(4000)) * time.Microsecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		s.Must(kerneltest.Call{Bin: bin, Plugin: "tuning", Verb: "DEL", Conf: c})
		s.Same("DEL", before, s.Run(values))
	}
}

// TestUpstreamsFile: what upstream's tuning has saved, ours puts back.
func TestUpstreamsFile(t *testing.T) {
	t.Parallel()
	bin := kerneltest.Build(t, "plugins/meta/tuning")
	s := kerneltest.New(t)
	setup(s)
	s.Run(`mkdir -p /run/cni/tuning; printf '{\n "mac": "02:00:00:00:00:55",\n "promisc": false,\n "mtu": 1450,\n "allmulti": false,\n "txQLen": 33\n}' > /run/cni/tuning/c1_eth0.json; pod ip link set eth0 promisc on`)
	s.Must(kerneltest.Call{Bin: bin, Plugin: "tuning", Verb: "DEL", Conf: conf("")})
	text := s.Run(values)
	for _, w := range []string{"02:00:00:00:00:55", "mtu 1450", "qlen 33"} {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in\n%s", w, text)
		}
	}
	if strings.Contains(text, "PROMISC") {
		t.Errorf("%s", text)
	}
}

// TestGC removes the files of what is not valid, and of this network alone.
func TestGC(t *testing.T) {
	t.Parallel()
	bin := kerneltest.Build(t, "plugins/meta/tuning")
	s := kerneltest.New(t)
	setup(s)
	s.Must(kerneltest.Call{Bin: bin, Plugin: "tuning", Conf: conf(`,"mtu":1400`)})
	gc := func(network, valid string) string {
		c := strings.Replace(conf(`,"cni.dev/valid-attachments":[`+valid+`]`), `"n"`, fmt.Sprintf("%q", network), 1)
		s.Must(kerneltest.Call{Bin: bin, Plugin: "tuning", Verb: "GC", Conf: c})
		return s.Run("ls /run/cni/tuning")
	}
	if gc("n", `{"containerID":"c1","ifname":"eth0"}`) == "" || gc("other", "") == "" {
		t.Error("a living attachment's file is gone")
	}
	if left := gc("n", ""); left != "" {
		t.Errorf("left: %s", left)
	}
	s.Must(kerneltest.Call{Bin: bin, Plugin: "tuning", Verb: "STATUS", Conf: conf("")})
}

// TestAllowlist: a line allows what it matches as a whole, in both spellings.
func TestAllowlist(t *testing.T) {
	t.Parallel()
	bin := kerneltest.Build(t, "plugins/meta/tuning")
	s := kerneltest.New(t)
	setup(s)
	s.Run(`mkdir -p /etc/cni /run/etc/cni/tuning; mount --bind /run/etc/cni /etc/cni; printf 'net.core.somaxconn\n\nnet/ipv4/conf/[a-z0-9]+/.*\n' > /etc/cni/tuning/allowlist.conf`)
	s.Must(kerneltest.Call{Bin: bin, Plugin: "tuning", Conf: conf(`,"sysctl":{"net/core/somaxconn":"5","net.ipv4.conf.IFNAME.log_martians":"1"}`)})
}

// TestGuard: a pod that bridge guards may send under the address it is given.
func TestGuard(t *testing.T) {
	t.Parallel()
	bin := kerneltest.Build(t, "plugins/main/bridge", "plugins/meta/tuning")
	s := kerneltest.New(t)
	bridge := kerneltest.Call{Bin: bin, Plugin: "bridge", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","bridge":"br0","macspoofchk":true}`}
	result := s.Must(bridge).Stdout
	s.Run("ip addr add 10.1.2.1/24 dev br0; pod ip addr add 10.1.2.3/24 dev eth0")
	guarded := s.Run("nft list set bridge catena macs")
	tune := kerneltest.Call{Bin: bin, Plugin: "tuning", Conf: `{"cniVersion":"1.0.0","name":"n","type":"tuning","mac":"02:00:00:00:00:42","prevResult":` + result + `}`}
	s.Must(tune)
	s.Must(tune) // a second ADD, or a second tuning of the chain
	s.Run("pod ping -c 1 -W 60 10.1.2.1")
	s.Run("pod ip link set eth0 address 02:00:00:00:00:43; ip neigh flush all; pod ip neigh flush all")
	if _, err := s.Try("pod ping -c 1 -W 1 10.1.2.1"); err == nil {
		t.Error("it may send under any address")
	}
	tune.Verb = "CHECK"
	if a := s.Call(tune); a.Code != 104 {
		t.Errorf("CHECK: %d %s", a.Code, a.Msg)
	}
	tune.Verb = "DEL"
	s.Must(tune)
	s.Same("DEL of tuning", guarded, s.Run("nft list set bridge catena macs"))
	bridge.Verb = "DEL"
	s.Must(bridge)
}

// FuzzConf: any configuration is read well, or refused well.
func FuzzConf(f *testing.F) { plugintest.Fuzz(f, tuningPlugin) }
