package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plugin"
	"github.com/catena-cni/catena/internal/plugintest"
	"github.com/catena-cni/catena/internal/state/name"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// manyPorts are more than the buffers of a plain user's sockets hold.
const manyPorts = "a socket with room for many ports"

// attachment is what want sees: the result of a plugin that made eth0, as
// runtimes hand it on.
func attachment(network, id string, addresses ...string) plugin.Call {
	call := plugin.Call{Attachment: name.Attachment{Network: network, ContainerID: id, IfName: "eth0"}, Netns: "/run/netns/" + id, Result: cni.NewResult()}
	call.Result.Interfaces = []*cni.Interface{{Name: "br0"}, {Name: "eth0", Sandbox: call.Netns}}
	pod := 1
	for _, a := range addresses {
		call.Result.IPs = append(call.Result.IPs, &cni.IPConfig{Interface: &pod, Address: cni.IPNet(netip.MustParsePrefix(a))})
	}
	return call
}

func mapping(list ...PortMapping) RuntimeConfig { return RuntimeConfig{PortMappings: list} }

// shifted are mappings of n host ports from host on to the pod's from pod on.
func shifted(n, host, pod int) (list []PortMapping) {
	for i := range n {
		list = append(list, PortMapping{HostPort: host + i, ContainerPort: pod + i})
	}
	return list
}

// at gives mappings one address of the host.
func at(host string, list []PortMapping) []PortMapping {
	for i := range list {
		list[i].HostIP = host
	}
	return list
}

func full() Conf {
	return Conf{RuntimeConfig: mapping(
		PortMapping{HostPort: 8080, ContainerPort: 80, Protocol: "TCP"},
		PortMapping{HostPort: 53, ContainerPort: 53, Protocol: "udp"},
		PortMapping{HostPort: 54, ContainerPort: 54, Protocol: "udp"},
		PortMapping{HostPort: 9000, ContainerPort: 9000, Protocol: "sctp", HostIP: "192.0.2.2"},
		PortMapping{HostPort: 9000, ContainerPort: 9001, Protocol: "sctp", HostIP: "192.0.2.3"},
	)}
}

var dual = []string{"10.1.2.3/24", "fd00:1:2::3/64"}

func no() *bool { b := false; return &b }

func bit(n int) *int { return &n }

// TestWant needs no kernel and no root.
func TestWant(t *testing.T) {
	c1 := attachment("n", "c1", dual...)
	conditional := Conf{ConditionsV4: Conditions{"ip", "saddr", "10.0.0.0/8"}, MarkMasqBit: bit(20), RuntimeConfig: mapping(PortMapping{HostPort: 80, ContainerPort: 80})}
	byIptables := "iptables"
	plugintest.Golden(t, map[string]fact.Plan{
		"iptables": plugintest.PlanAt(t, portmap, c1, Conf{Backend: &byIptables, ConditionsV4: Conditions{"-s", "10.0.0.0/8"}, RuntimeConfig: full().RuntimeConfig}),
		"setmark":  plugintest.PlanAt(t, portmap, c1, Conf{Backend: &byIptables, SetMarkChain: "KUBE-MARK-MASQ", RuntimeConfig: full().RuntimeConfig}),
		"full":     plugintest.PlanAt(t, portmap, c1, full()),
		"none":     plugintest.PlanAt(t, portmap, c1, Conf{}),
		"nosnat":   plugintest.PlanAt(t, portmap, c1, Conf{SNAT: no(), RuntimeConfig: full().RuntimeConfig}),
		"masqall":  plugintest.PlanAt(t, portmap, c1, Conf{MasqAll: true, RuntimeConfig: full().RuntimeConfig}),
		"profile":  plugintest.PlanAt(t, portmap, c1, conditional),
		"range":    plugintest.PlanAt(t, portmap, c1, Conf{RuntimeConfig: mapping(shifted(1000, 8000, 8000)...)}),
		"shifted":  plugintest.PlanAt(t, portmap, c1, Conf{RuntimeConfig: mapping(shifted(1000, 8000, 18000)...)}),
		"families": plugintest.PlanAt(t, portmap, c1, Conf{RuntimeConfig: mapping(PortMapping{HostPort: 1, ContainerPort: 1, HostIP: "0.0.0.0"}, PortMapping{HostPort: 2, ContainerPort: 2, HostIP: "::"})}),
		"implied": plugintest.PlanAt(t, portmap, c1, Conf{RuntimeConfig: mapping(PortMapping{HostPort: 1, ContainerPort: 1, HostIP: "192.0.2.2"},
			PortMapping{HostPort: 1, ContainerPort: 1, HostIP: "0.0.0.0"}, PortMapping{HostPort: 1, ContainerPort: 1, HostIP: "0.0.0.0", Protocol: "tcp"})}),
		"four": plugintest.PlanAt(t, portmap, attachment("n", "c1", "10.1.2.3/24", "10.9.9.9/8"), Conf{RuntimeConfig: mapping(
			PortMapping{HostPort: 1, ContainerPort: 1, HostIP: "0.0.0.0"}, PortMapping{HostPort: 1, ContainerPort: 1, HostIP: "::"})}),
	})
}

// TestBackend: a key that one backend alone understands asks for it, and what
// contradicts that is refused.
func TestBackend(t *testing.T) {
	for _, c := range []struct{ conf, want string }{
		{``, "nftables"},
		{`"externalSetMarkChain":"KUBE-MARK-MASQ"`, "iptables"},
		{`"externalSetMarkChain":"X","snat":true,"conditionsV4":["-s","10.0.0.0/8"]`, "iptables"},
		{`"conditionsV4":["ip","saddr","10.0.0.0/8"]`, "nftables"},
		{`"conditionsV4":["-s","10.0.0.0/8"],"conditionsV6":"! -s fd00::/8"`, "nftables"},
		{`"conditionsV4":["-m","addrtype","--src-type","LOCAL"]`, "iptables"},
		{`"conditionsV6":["!","-s","fd00::/8","-m","set","--match-set","good","src"]`, "iptables"},
		{`"conditionsV6":"-m conntrack --ctstate DNAT"`, "iptables"},
		{`"conditionsV6":"--tcp-flags SYN SYN","conditionsV4":"-s 10.0.0.0/8"`, "iptables"},
		{`"backend":"nftables","externalSetMarkChain":"X"`, "externalSetMarkChain is for the backend iptables, and backend is nftables"},
		{`"conditionsV4":["ip","saddr","10.0.0.0/8"],"externalSetMarkChain":"X"`, "conditionsV4 is for the backend nftables, and externalSetMarkChain for iptables"},
		{`"conditionsV4":["ip","saddr","10.0.0.0/8"],"conditionsV6":"-m addrtype --src-type LOCAL"`, "conditionsV6 is for the backend iptables, and conditionsV4 for nftables"},
		{`"backend":"nftables","conditionsV4":"-m addrtype --src-type LOCAL"`, `conditionsV4: "addrtype" is not understood`},
		{`"conditionsV4":"-s 10.0.0.0/33"`, `conditionsV4: "10.0.0.0/33" is not understood`},
		{`"conditionsV4":"-s 10.0.0.0/8 -j ACCEPT"`, `conditionsV4: "-j" is no condition`},
	} {
		var have Conf
		if err := json.Unmarshal([]byte("{"+c.conf+"}"), &have); err != nil {
			t.Fatal(err)
		}
		err := validate(&plugin.Call{}, &have)
		got := "nftables"
		if have.byIptables() {
			got = "iptables"
		}
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%s gives %s, and %s is wanted", c.conf, got, c.want)
		}
	}
}

// bridged is the host's side and the pod's as a bridge plugin leaves them.
func bridged(s *kerneltest.Sandbox) {
	s.Run(`ip link add br0 type bridge
		ip link set br0 up
		ip addr add 10.1.2.1/24 dev br0
		ip addr add fd00:1:2::1/64 dev br0 nodad
		ip link add port1 type veth peer name eth0 netns "$POD"
		ip link set port1 master br0 up
		pod ip addr add 10.1.2.3/24 dev eth0
		pod ip addr add fd00:1:2::3/64 dev eth0 nodad
		pod ip link set eth0 up
		pod ip route add default via 10.1.2.1`)
}

func TestLaws(t *testing.T) {
	kerneltest.Prove(t, kerneltest.Case{
		Plan:  plugintest.PlanAt(t, portmap, attachment("n", "c1", dual...), full()),
		Other: plugintest.PlanAt(t, portmap, attachment("n", "c0", "10.1.2.9/24", "fd00:1:2::9/64"), full()),
		Setup: bridged,
		Undo: []kerneltest.Undo{
			{Fact: `^nft  restore`},
			{Fact: `^nft  ports`, Command: "nft delete element inet catena hostports4 { 8080 . tcp }"},
			{Fact: `^nft  localnet`, Command: "nft delete element inet catena localnet { br0 }"},
			{Fact: `^sysctl host`, Command: "sysctl -q net.ipv4.conf.br0.route_localnet=0"},
			{Fact: `^forget`, Command: ""},
		},
	})
}

func TestLawsOfProfile(t *testing.T) {
	c := full()
	c.ConditionsV4, c.MarkMasqBit = Conditions{"ip saddr { 10.0.0.0/8, 192.0.2.0/24 }"}, bit(20)
	kerneltest.Prove(t, kerneltest.Case{
		Plan:  plugintest.PlanAt(t, portmap, attachment("n", "c1", dual...), c),
		Other: plugintest.PlanAt(t, portmap, attachment("n", "c0", "10.1.2.9/24", "fd00:1:2::9/64"), c),
		Setup: bridged,
		Undo: []kerneltest.Undo{
			{Fact: `^nft  restore`},
			{Fact: `^nft  ports`, Command: `nft flush set inet catena $(nft list sets inet | sed -n 's/.*set \(hairpin4_24_[0-9a-f]*\) .*/\1/p')`},
			{Fact: ``, Command: ""},
		},
	})
}

// TestCheckMembers: CHECK sees every single member that is gone.
func TestCheckMembers(t *testing.T) {
	s := kerneltest.New(t)
	bridged(s)
	c := full()
	p := plugintest.PlanAt(t, portmap, attachment("n", "c1", dual...), c)
	if err := p.Add(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	for _, set := range []string{
		"hostports4", "hostports6", "addrports4", "hairpin4_24", "hairpin4_8", "hairpin6_64", "addrhairpin4_24", "addrhairpin4_8",
	} {
		kind := "map"
		if strings.Contains(set, "hairpin") {
			kind = "set"
		}
		kept := s.Run("nft list " + kind + " inet catena " + set)
		s.Run("nft flush " + kind + " inet catena " + set)
		if err := p.Check(s.Kernel()); err == nil || !strings.Contains(err.Error(), set+" { ") {
			t.Errorf("without the members of %s: %v", set, err)
		}
		s.Run("nft -f - <<'X'\n" + kept + "\nX")
		if err := p.Check(s.Kernel()); err != nil {
			t.Errorf("with the members of %s again: %v", set, err)
		}
	}
}

// TestConflict: who comes second is told who was first, whatever the overlap;
// who is gone for good is replaced.
func TestConflict(t *testing.T) {
	kerneltest.NeedsTime(t)
	tcp := func(host string, from int) PortMapping {
		return PortMapping{HostPort: from, ContainerPort: 80, HostIP: host}
	}
	says := map[string]string{
		"the same":               "host port 80/tcp is held by n/c1/eth0",
		"an address of all":      "host port 192.0.2.2:80/tcp is held by n/c1/eth0",
		"all with an address":    "host port 192.0.2.2:80/tcp is held by n/c1/eth0",
		"a range around":         "host port 8080/tcp is held by n/c1/eth0",
		"within a range":         "host port 8080/tcp is held by n/c1/eth0",
		"a range crosswise":      "host port 8500/tcp is held by n/c1/eth0",
		"shifted within a range": "host port 8500/tcp is held by n/c1/eth0",
	}
	for what, c := range map[string]struct {
		first, second []PortMapping
		free          bool
	}{
		"the same":                  {[]PortMapping{tcp("", 80)}, []PortMapping{tcp("", 80)}, false},
		"an address of all":         {[]PortMapping{tcp("", 80)}, []PortMapping{tcp("192.0.2.2", 80)}, false},
		"all with an address":       {[]PortMapping{tcp("192.0.2.2", 80)}, []PortMapping{tcp("", 80)}, false},
		"a range around":            {[]PortMapping{tcp("", 8080)}, shifted(1000, 8000, 8000), false},
		"a range around an address": {[]PortMapping{tcp("192.0.2.2", 8080)}, shifted(1000, 8000, 8000), false},
		"within a range":            {shifted(1000, 8000, 8000), []PortMapping{tcp("", 8080)}, false},
		"an address of a range":     {shifted(1000, 8000, 8000), []PortMapping{tcp("192.0.2.2", 8080)}, false},
		"all with a range":          {at("192.0.2.2", shifted(1000, 8000, 8000)), []PortMapping{tcp("", 8080)}, false},
		"shifted within a range":    {shifted(1000, 8000, 8000), shifted(1000, 8500, 80), false},
		"a range crosswise":         {shifted(1000, 8000, 8000), shifted(1000, 8500, 8500), false},
		"another port":              {[]PortMapping{tcp("", 80)}, []PortMapping{tcp("", 81)}, true},
		"another address":           {[]PortMapping{tcp("192.0.2.2", 80)}, []PortMapping{tcp("192.0.2.3", 80)}, true},
		"another protocol":          {[]PortMapping{tcp("", 80)}, []PortMapping{{HostPort: 80, ContainerPort: 80, Protocol: "udp"}}, true},
		"the same of another mark":  {[]PortMapping{tcp("", 80)}, []PortMapping{tcp("", 80)}, false},
		"the same under conditions": {[]PortMapping{tcp("", 80)}, []PortMapping{tcp("", 80)}, true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			if len(c.first)+len(c.second) > 100 {
				kerneltest.NeedsRoot(t, manyPorts)
			}
			s := kerneltest.New(t)
			bridged(s)
			second := Conf{RuntimeConfig: mapping(c.second...)}
			switch what {
			case "the same of another mark":
				second.MarkMasqBit = bit(3)
			case "the same under conditions":
				second.ConditionsV4, second.ConditionsV6 = Conditions{"-s", "10.9.0.0/16"}, Conditions{"-s", "fd09::/16"}
			}
			// What the second brings to the table stays; its members do not.
			p2 := plugintest.PlanAt(t, portmap, attachment("n", "c2", "10.1.2.4/24"), second)
			if err := errors.Join(p2.Add(s.Kernel()), p2.Del(s.Kernel())); err != nil {
				t.Fatal(err)
			}
			if err := plugintest.PlanAt(t, portmap, attachment("n", "c1", dual...), Conf{RuntimeConfig: mapping(c.first...)}).Add(s.Kernel()); err != nil {
				t.Fatal(err)
			}
			before := s.Text()
			err := p2.Add(s.Kernel())
			if c.free {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), "is held by n/c1/eth0") || cni.AsError(err).Code != cni.CodeExists ||
				!strings.Contains(cni.AsError(err).Details, "detach (DEL) n/c1/eth0 first") {
				t.Fatalf("%v", err)
			}
			// What the reader needs is all that the message says; the facts are behind.
			if e := cni.AsError(err); says[what] != "" && e.Msg != says[what] || !strings.Contains(e.Details, "nft  ports ") {
				t.Errorf("it says %s (%s)", e.Msg, e.Details)
			}
			s.Same("a refused ADD", before, s.Text())
			// The first one's namespace goes without a DEL.
			s.Run(`umount -l "$POD"; rm "$POD"`)
			s.NewPod(s.Pod)
			if err := p2.Add(s.Kernel()); err != nil {
				t.Fatalf("the holder is gone, and: %v", err)
			}
			if text := s.Text(); strings.Contains(text, "n/c1/eth0") || !strings.Contains(text, "n/c2/eth0") {
				t.Errorf("the dead holder still has something, or the new one nothing:\n%s", text)
			}
		})
	}
}

// TestExactlyOwn: DEL of one attachment leaves those of the same container in
// another network, of another interface, and of another container with the same
// address.
func TestExactlyOwn(t *testing.T) {
	s := kerneltest.New(t)
	bridged(s)
	one := func(port int) Conf {
		return Conf{RuntimeConfig: mapping(PortMapping{HostPort: port, ContainerPort: 80}, PortMapping{HostPort: port, ContainerPort: 80, Protocol: "udp"})}
	}
	base := plugintest.PlanAt(t, portmap, attachment("n", "c1", dual...), one(1))
	network := plugintest.PlanAt(t, portmap, attachment("m", "c1", dual...), one(2))
	container := plugintest.PlanAt(t, portmap, attachment("n", "c2", dual...), one(3))
	at := attachment("n", "c1", dual...)
	at.IfName, at.Result.Interfaces[1].Name = "eth1", "eth1"
	ifname := plugintest.PlanAt(t, portmap, at, one(4))
	all := []fact.Plan{base, network, container, ifname}
	for _, p := range all {
		if err := p.Add(s.Kernel()); err != nil {
			t.Fatal(err)
		}
	}
	for i, p := range all {
		if err := p.Del(s.Kernel()); err != nil {
			t.Error(err)
		}
		for _, o := range all[i+1:] {
			if err := o.Check(s.Kernel()); err != nil {
				t.Errorf("after DEL of %v: %v", p[0], err)
			}
		}
	}
	if text := s.Text(); strings.Contains(text, "comment \"n/") || strings.Contains(text, "comment \"m/") {
		t.Errorf("something was left:\n%s", text)
	}
}

// TestOwnLink: the link of the attachment alone loses its guard with it.
func TestOwnLink(t *testing.T) {
	s := kerneltest.New(t)
	at := attachment("n", "c1", "10.1.2.3/24")
	host := at.HostLink()
	s.Run(fmt.Sprintf(`ip link add %[1]s type veth peer name eth0 netns "$POD"; ip link set %[1]s up; ip route add 10.1.2.3 dev %[1]s`, host))
	p := plugintest.PlanAt(t, portmap, at, Conf{RuntimeConfig: mapping(PortMapping{HostPort: 80, ContainerPort: 80})})
	if err := p.Add(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	guarded := func() string {
		return s.Run("nft list set inet catena localnet; sysctl net.ipv4.conf." + host + ".route_localnet")
	}
	if text := guarded(); !strings.Contains(text, host) || !strings.Contains(text, "route_localnet = 1") {
		t.Errorf("after ADD:\n%s", text)
	}
	if err := p.Check(s.Kernel()); err != nil {
		t.Error(err)
	}
	if err := p.Del(s.Kernel()); err != nil {
		t.Error(err)
	}
	if text := guarded(); strings.Contains(text, `"`+host+`"`) || !strings.Contains(text, "route_localnet = 0") {
		t.Errorf("after DEL:\n%s", text)
	}
}

// TestProfiles: a profile comes in once, and stays when the static part is sent
// again.
func TestProfiles(t *testing.T) {
	s := kerneltest.New(t)
	bridged(s)
	profiled := func(id string, port int) fact.Plan {
		return plugintest.PlanAt(t, portmap, attachment("n", id, dual...), Conf{
			ConditionsV4: Conditions{"iifname eth9"}, MarkMasqBit: bit(20), RuntimeConfig: mapping(PortMapping{HostPort: port, ContainerPort: 80}),
		})
	}
	for i, id := range []string{"c1", "c2"} {
		if err := profiled(id, 80+i).Add(s.Kernel()); err != nil {
			t.Fatal(err)
		}
	}
	marked := plugintest.PlanAt(t, portmap, attachment("n", "c3", dual...), Conf{MarkMasqBit: bit(20), RuntimeConfig: mapping(PortMapping{HostPort: 99, ContainerPort: 80})})
	if err := marked.Add(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	text := s.Run("nft list chain inet catena profiles; nft list chain inet catena marks")
	if n := strings.Count(text, "jump ports_"); n != 4 {
		t.Errorf("two profiles of two families have %d jumps:\n%s", n, text)
	}
	if n := strings.Count(text, "iifname"); n != 1 {
		t.Errorf("one condition is there %d times:\n%s", n, text)
	}
	s.Run("nft delete set inet catena layout1")
	if err := plugintest.PlanAt(t, portmap, attachment("n", "c4", dual...), full()).Add(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	s.Same("the static part again", text, s.Run("nft list chain inet catena profiles; nft list chain inet catena marks"))
	if err := profiled("c1", 80).Check(s.Kernel()); err != nil {
		t.Error(err)
	}
}

// FuzzConf: any configuration is read well, or refused well.
func FuzzConf(f *testing.F) { plugintest.Fuzz(f, portmap) }
