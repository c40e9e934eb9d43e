package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plugin"
	"github.com/catena-cni/catena/internal/plugintest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// attachment is what want sees behind bridge.
func attachment(id string, addresses ...string) plugin.Call {
	call := plugintest.At(id, addresses...)
	call.Result.Interfaces = []*cni.Interface{{Name: "br0"}, {Name: "port1"}, {Name: "eth0", Sandbox: call.Netns}}
	pod := 2
	for _, ip := range call.Result.IPs {
		ip.Interface = &pod
	}
	return call
}

var dual = []string{"10.1.2.3/24", "fd00:1:2::3/64"}

func text(s string) *string { return &s }

// TestWant needs no kernel and no root.
func TestWant(t *testing.T) {
	c1 := attachment("c1", dual...)
	plugintest.Golden(t, map[string]fact.Plan{
		"open":      plugintest.PlanAt(t, firewall, c1, Conf{}),
		"admin":     plugintest.PlanAt(t, firewall, c1, Conf{AdminChain: text("MINE")}),
		"same":      plugintest.PlanAt(t, firewall, c1, Conf{IngressPolicy: "same-bridge"}),
		"isolated":  plugintest.PlanAt(t, firewall, c1, Conf{IngressPolicy: "isolated"}),
		"firewalld": plugintest.PlanAt(t, firewall, c1, Conf{Backend: text("firewalld"), Zone: text("internal"), IngressPolicy: "same-bridge"}),
		"iptables":  plugintest.PlanAt(t, firewall, c1, Conf{Backend: text("iptables"), IngressPolicy: "isolated"}),
		"twice":     plugintest.PlanAt(t, firewall, attachment("c1", "10.1.2.3/24", "10.1.2.3/24"), Conf{}),
		"none":      plugintest.PlanAt(t, firewall, attachment("c1"), Conf{}),
	})
}

// TestBackend: a key that some backends alone understand asks for one of them,
// and what contradicts that is refused.
func TestBackend(t *testing.T) {
	for _, c := range []struct {
		conf Conf
		want string
	}{
		{Conf{}, "nftables"},
		{Conf{Zone: text("trusted")}, "firewalld"},
		{Conf{Zone: text("internal"), IngressPolicy: "isolated"}, "firewalld"},
		{Conf{AdminChain: text("MINE")}, "nftables"},
		{Conf{Backend: text("iptables"), AdminChain: text("MINE")}, "iptables"},
		{Conf{Backend: text("firewalld"), Zone: text("internal")}, "firewalld"},
		{Conf{Backend: text("nftables"), Zone: text("internal")}, "firewalldZone is for the backend firewalld, and backend is nftables"},
		{Conf{Backend: text("iptables"), Zone: text("internal")}, "firewalldZone is for the backend firewalld, and backend is iptables"},
		{Conf{Backend: text("firewalld"), AdminChain: text("MINE")}, "iptablesAdminChainName is for the backend nftables or iptables, and backend is firewalld"},
		{Conf{Zone: text("internal"), AdminChain: text("MINE")}, "firewalldZone is for the backend firewalld, and iptablesAdminChainName for nftables"},
	} {
		err := validate(&plugin.Call{}, &c.conf)
		got := c.conf.backend()
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s is wanted, and %s is given", c.want, got)
		}
	}
}

// bridged is the host's side as a bridge plugin leaves it.
const bridged = `ip link add br0 type bridge
	ip link set br0 up
	ip addr add 10.1.2.1/24 dev br0
	ip addr add fd00:1:2::1/64 dev br0 nodad
	ip link add port1 type veth peer name eth0 netns "$POD"
	ip link set port1 master br0 up`

// iptablesDrop is the host's packet filter as Docker leaves it.
const iptablesDrop = `
	for i in iptables-nft ip6tables-nft; do
		$i -P FORWARD DROP
		$i -N DOCKER-USER
		$i -A DOCKER-USER -j RETURN
		$i -N DOCKER-FORWARD
		$i -A FORWARD -j DOCKER-USER
		$i -A FORWARD -j DOCKER-FORWARD
		$i -A DOCKER-FORWARD -i docker0 -j ACCEPT
		$i -N CNI-ADMIN
	done`

func TestLaws(t *testing.T) {
	for _, c := range []struct {
		name string
		conf Conf
		undo []kerneltest.Undo
	}{
		{"open", Conf{}, []kerneltest.Undo{{Fact: `^nft  restore`}, {Fact: `^nft  forward`, Command: "nft delete element inet catena forward6 { fd00:1:2::3 }"}}},
		{"lost", Conf{}, []kerneltest.Undo{{Fact: `^nft  restore`}, {Fact: `^nft  forward`, Command: "iptables-nft -I FORWARD 3 -j REJECT"}}},
		{"isolated", Conf{IngressPolicy: "isolated"}, []kerneltest.Undo{
			{Fact: `^nft  restore`},
			{Fact: `^nft  ingress`, Command: `nft delete element inet catena isolated { br0 . br0 }`},
			{Fact: `^nft  isolated`, Command: `nft delete element bridge catena isolated { port1 }`},
			{Fact: `^nft  forward`, Command: "nft delete element inet catena forward4 { 10.1.2.3 }"},
		}},
		{"same-bridge", Conf{IngressPolicy: "same-bridge"}, []kerneltest.Undo{
			{Fact: `^nft  restore`},
			{Fact: `^nft  ingress`, Command: `nft delete element inet catena samebridgerefs { br0 . ` + attachment("c1").HostLink() + ` }`},
			{Fact: `^nft  forward`, Command: "nft flush set inet catena forward4"},
		}},
		{"iptables", Conf{Backend: text("iptables"), IngressPolicy: "isolated"}, []kerneltest.Undo{
			{Fact: `^ipt  isolated`, Command: "iptables -F CNI-ISOLATION-STAGE-2"},
			{Fact: `^ipt  forward`, Command: "ip6tables -D CNI-FORWARD -s fd00:1:2::3 -j ACCEPT"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			kerneltest.Prove(t, kerneltest.Case{
				Plan:  plugintest.PlanAt(t, firewall, attachment("c1", dual...), c.conf),
				Other: plugintest.PlanAt(t, firewall, attachment("c0", "10.1.2.9/24"), c.conf),
				Setup: func(s *kerneltest.Sandbox) { s.Run(bridged + iptablesDrop) },
				Undo:  c.undo,
			})
		})
	}
}

// TestExactlyOwn: what two pods have in common goes with the last of them, and
// an address that passed to another pod stays that one's.
func TestExactlyOwn(t *testing.T) {
	s := kerneltest.New(t)
	s.Run(bridged)
	conf := Conf{IngressPolicy: "isolated"}
	one, two := attachment("c1", dual...), attachment("c2", dual...)
	two.Result.Interfaces[1].Name = "port2"
	a, b := plugintest.PlanAt(t, firewall, one, conf), plugintest.PlanAt(t, firewall, two, conf)
	for _, p := range []fact.Plan{a, b} {
		if err := p.Add(s.Kernel()); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Del(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	if err := b.Check(s.Kernel()); err != nil {
		t.Errorf("after DEL of the first: %v", err)
	}
	if text := s.Run("nft list ruleset"); strings.Contains(text, "n/c1/eth0") || !strings.Contains(text, "bridges {\n\t\ttype ifname\n\t\telements = { \"br0\" }") {
		t.Errorf("after DEL of the first:\n%s", text)
	}
	if err := b.Del(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	if text := s.Run("nft list ruleset"); strings.Contains(text, "n/c2/eth0") || strings.Contains(text, "br0") || strings.Contains(text, "refs_") {
		t.Errorf("after DEL of the last:\n%s", text)
	}
}

// TestBad: what is wrong is said, and nothing is touched.
func TestBad(t *testing.T) {
	const prev = `,"prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"br0"},{"name":"eth0","sandbox":"/x"}],"ips":[{"address":"10.1.2.3/24","interface":1}]}`
	const podOnly = `,"prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/x"}],"ips":[{"address":"10.1.2.3/24","interface":0}]}`
	older := []string{"older iptables"}
	kerneltest.Refusals{
		Plugins: []string{"plugins/meta/firewall"}, Conf: kerneltest.Minimal("firewall"),
		Rows: []kerneltest.Refusal{
			{Name: "no prevResult", Code: 7, Words: "there is no prevResult"},
			{Name: "unknown backend", Conf: `,"backend":"nftable"` + prev, Code: 7, Words: `backend is "nftable", and can be nftables, iptables, firewalld`},
			{Name: "no programs", Conf: `,"backend":"iptables"` + prev, Setup: "mount -t tmpfs none /usr/sbin; umount -l /sbin 2>/dev/null || true", Code: 102, Words: "iptables"},
			{Name: "no string", Conf: `,"backend":3` + prev, Code: 6, Words: "backend is to be a string"},
			{Name: "unknown policy", Conf: `,"ingressPolicy":"closed"` + prev, Code: 7, Words: `ingressPolicy is "closed", and can be open, same-bridge, isolated`},
			{Name: "policy without a bridge", Conf: `,"ingressPolicy":"same-bridge"` + podOnly, Code: 7, Words: "no bridge of the host"},
			{Name: "chain that is built in", Conf: `,"iptablesAdminChainName":"FORWARD"` + prev, Code: 7, Words: `iptablesAdminChainName is "FORWARD"`},
			{Name: "chain with blanks", Conf: `,"iptablesAdminChainName":"A -j DROP"` + prev, Code: 7, Words: "iptablesAdminChainName"},
			{Name: "long chain", Conf: `,"iptablesAdminChainName":"` + strings.Repeat("A", 29) + `"` + prev, Code: 7, Words: "1 to 28"},
			{Name: "zone", Conf: `,"firewalldZone":"a b"` + prev, Code: 7, Words: `firewalldZone is "a b"`},
			{Name: "no bus", Conf: `,"backend":"firewalld"` + prev, Code: 102, Words: "firewalld|/run/dbus/system_bus_socket"},
			{Name: "no bus, STATUS", Verb: "STATUS", Conf: `,"cniVersion":"1.1.0","backend":"firewalld"`, Code: 50, Words: "firewalld"},
			{Name: "legacy policy", Needs: older, Setup: "iptables-legacy -P FORWARD DROP", Conf: prev, Code: 100, Words: "FORWARD|table filter of iptables-legacy is DROP"},
			{Name: "legacy policy of IPv6", Needs: older, Setup: "ip6tables-legacy -P FORWARD DROP; ip6tables-legacy -A FORWARD -s fd00::/8 -j ACCEPT",
				Conf: strings.ReplaceAll(prev, "10.1.2.3/24", "fd00::3/64"), Code: 100, Words: "FORWARD|ip6tables-legacy is DROP"},
			{Name: "legacy policy, STATUS", Needs: older, Verb: "STATUS", Setup: "iptables-legacy -P FORWARD DROP", Conf: `,"cniVersion":"1.1.0"`, Code: 50, Words: "iptables-legacy is DROP"},
		},
	}.Run(t)
}

// TestOtherFamily: what drops IPv6 alone does not matter to a pod without.
func TestOtherFamily(t *testing.T) {
	kerneltest.Needs(t, "older iptables")
	s := kerneltest.New(t)
	s.Run("ip6tables-legacy -P FORWARD DROP")
	if err := firewall.Ready(s.Kernel(), Conf{}); err != nil {
		t.Errorf("STATUS where IPv6 is not forwarded: %v", err)
	}
	p := plugintest.PlanAt(t, firewall, attachment("c1", "10.1.2.3/24"), Conf{})
	if err := p.Add(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	if err := p.Check(s.Kernel()); err != nil {
		t.Error(err)
	}
	s.Run("sysctl -q net.ipv6.conf.all.forwarding=1")
	if err := firewall.Ready(s.Kernel(), Conf{}); err == nil || !strings.Contains(err.Error(), "ip6tables-legacy is DROP") {
		t.Errorf("STATUS where IPv6 is forwarded: %v", err)
	}
}

// TestDelGoesOn: DEL and GC find what is there whatever the configuration is by
// then.
func TestDelGoesOn(t *testing.T) {
	kerneltest.NeedsTime(t)
	bin := kerneltest.Build(t, "plugins/meta/firewall")
	conf := func(more string) string {
		return `{"cniVersion":"1.1.0","name":"n","type":"firewall"` + more + `}`
	}
	prev := `,"prevResult":{"cniVersion":"1.1.0","interfaces":[{"name":"br0"},{"name":"port1"},{"name":"eth0","sandbox":"/x"}],
		"ips":[{"address":"10.1.2.3/24","interface":2},{"address":"fd00:1:2::3/64","interface":2}]}`
	for i, later := range []string{
		"", prev, `,"backend":"firewalld"`, `,"backend":"iptables"` + prev, `,"backend":"nothing"`, `,"ingressPolicy":"open"`, `,"ingressPolicy":[]`,
		`,"iptablesAdminChainName":"` + strings.Repeat("x", 99) + `"`, `,"prevResult":{"cniVersion":"9","ips":7}`,
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			s := kerneltest.New(t)
			s.Run(bridged + iptablesDrop)
			call := func(verb, more string) kerneltest.Call {
				return kerneltest.Call{Bin: bin, Plugin: "firewall", Verb: verb, Conf: conf(more)}
			}
			s.Must(call("ADD", `,"ingressPolicy":"isolated"`+prev))
			s.Must(call("DEL", ""))
			before := s.Text()
			s.Must(call("ADD", `,"ingressPolicy":"isolated"`+prev))
			s.Must(call("CHECK", `,"ingressPolicy":"isolated"`+prev))
			s.Must(call("DEL", later))
			s.Same("DEL with "+later, before, s.Text())
			s.Must(call("ADD", `,"ingressPolicy":"isolated"`+prev))
			if later != `,"ingressPolicy":[]` {
				s.Must(call("GC", `,"cni.dev/valid-attachments":[]`+later))
				s.Same("GC with "+later, before, s.Text())
			}
		})
	}
}

// TestUpstream: a pod that upstream's firewall has let through is checked and
// detached whatever the backend is by now, and another's rules stay.
func TestUpstream(t *testing.T) {
	theirs := filepath.Dir(kerneltest.Upstream(t, "firewall"))
	bin := kerneltest.Build(t, "plugins/meta/firewall")
	conf := func(more, addr string) string {
		return `{"cniVersion":"1.0.0","name":"n","type":"firewall"` + more + `,"prevResult":{"cniVersion":"1.0.0",
			"interfaces":[{"name":"br0"},{"name":"port1"},{"name":"eth0","sandbox":"/x"}],
			"ips":[{"address":"10.1.2.` + addr + `/24","interface":2},{"address":"fd00:1:2::` + addr + `/64","interface":2}]}}`
	}
	for _, later := range []string{"", `,"backend":"iptables"`} {
		t.Run(later, func(t *testing.T) {
			t.Parallel()
			s := kerneltest.New(t)
			s.Run(bridged)
			s.Must(kerneltest.Call{Bin: theirs, Plugin: "firewall", Programs: "/usr/sbin:/sbin", ContainerID: "other", Conf: conf("", "9")})
			before := s.Text()
			s.Must(kerneltest.Call{Bin: theirs, Plugin: "firewall", Programs: "/usr/sbin:/sbin", Conf: conf("", "3")})
			s.Must(kerneltest.Call{Bin: bin, Plugin: "firewall", Programs: "/usr/sbin:/sbin", Verb: "CHECK", Conf: conf(later, "3")})
			for range 2 {
				s.Must(kerneltest.Call{Bin: bin, Plugin: "firewall", Programs: "/usr/sbin:/sbin", Verb: "DEL", Conf: conf(later, "3")})
				s.Same("DEL", before, s.Text())
			}
			if a := s.Call(kerneltest.Call{Bin: bin, Plugin: "firewall", Programs: "/usr/sbin:/sbin", Verb: "CHECK", Conf: conf(later, "3")}); a.Code != cni.CodeDrift {
				t.Errorf("CHECK after DEL: %d %s", a.Code, a.Msg)
			}
			s.Must(kerneltest.Call{Bin: bin, Plugin: "firewall", Programs: "/usr/sbin:/sbin", Verb: "CHECK", ContainerID: "other", Conf: conf(later, "9")})
		})
	}
}

// FuzzConf: any configuration is read well, or refused well.
func FuzzConf(f *testing.F) { plugintest.Fuzz(f, firewall) }
