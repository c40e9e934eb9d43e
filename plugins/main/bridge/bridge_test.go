package main

import (
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plugintest"
	"github.com/catena-cni/catena/internal/state/name"
)

func full() Conf {
	return Conf{Bridge: "br0", IsDefaultGateway: true, IPMasq: true, HairpinMode: true, PortIsolation: true, MACSpoofCheck: true, MTU: 1400}
}

func yes() *bool { b := true; return &b }

// TestWant needs no kernel and no root.
func TestWant(t *testing.T) {
	dual := []string{"10.1.2.3/24", "fd00:1:2::3/64"}
	plugintest.Golden(t, map[string]fact.Plan{
		"classic":  plugintest.Plan(t, bridge, "c1", Conf{IsGateway: true, IPMasq: true}, dual[0]),
		"iptables": plugintest.Plan(t, bridge, "c1", Conf{IPMasq: true, IPMasqBackend: "iptables"}, dual...),
		"full":     plugintest.Plan(t, bridge, "c1", full(), dual...),
		"layer2":   plugintest.Plan(t, bridge, "c1", Conf{PromiscMode: yes()}),
		"vlan":     plugintest.Plan(t, bridge, "c1", Conf{VLAN: 100, VLANTrunk: &[]Trunk{{ID: ptr(7)}, {MinID: ptr(8), MaxID: ptr(9)}}, IsGateway: true}, dual...),
		"dad":      plugintest.Plan(t, bridge, "c1", Conf{EnableDAD: true}, dual...),
	})
}

func ptr(n int) *int { return &n }

func TestLaws(t *testing.T) {
	host := name.Attachment{Network: "n", ContainerID: "c1", IfName: "eth0"}.HostLink()
	kerneltest.Prove(t, kerneltest.Case{
		Plan:  plugintest.Plan(t, bridge, "c1", full(), "10.1.2.3/24", "10.1.3.3/24", "fd00:1:2::3/64"),
		Other: plugintest.Plan(t, bridge, "c0", full(), "10.1.2.9/24", "10.1.3.9/24", "fd00:1:2::9/64"),
		Undo: []kerneltest.Undo{
			{Fact: `^nft  restore`},
			{Fact: `^link host bridge`, Command: "ip link set br0 mtu 1300"},
			{Fact: `^nft  guard`, Command: "nft flush set bridge catena macs"},
			{Fact: `^nft  masquerade`, Command: "nft delete element inet catena masq4 { 10.1.2.3 }"},
			{Fact: `^link host veth`, Command: "ip link set " + host + " nomaster"},
			{Fact: `^port`, Command: "bridge link set dev " + host + " hairpin off"},
			{Fact: `^addr host br0 10.1.2.1`, Command: "ip addr del 10.1.2.1/24 dev br0"},
			{Fact: `^addr host br0 10.1.3.1`, Command: "ip addr del 10.1.3.1/24 dev br0"},
			{Fact: `^addr host br0 fd00`, Command: "ip addr del fd00:1:2::1/64 dev br0"},
			{Fact: `^sysctl host net/ipv4`, Command: "sysctl -q net.ipv4.ip_forward=0"},
			{Fact: `^sysctl host net/ipv6`, Command: "sysctl -q net.ipv6.conf.all.forwarding=0"},
			{Fact: `^sysctl pod`, Command: ""}, // without IPv6 there are no addresses, which their own facts say
			{Fact: `^addr pod eth0 10.1.2.3`, Command: "pod ip addr del 10.1.2.3/24 dev eth0"},
			{Fact: `^addr pod eth0 10.1.3.3`, Command: "pod ip addr del 10.1.3.3/24 dev eth0"},
			{Fact: `^addr pod eth0 fd00`, Command: "pod ip addr del fd00:1:2::3/64 dev eth0"},
			{Fact: `^up   pod`, Command: "pod ip link set eth0 down"},
			{Fact: `^route pod 0.0.0.0/0`, Command: "pod ip route del default"},
			{Fact: `^route pod ::/0`, Command: "pod ip -6 route del default"},
			{Fact: `^tell`},
			{Fact: `^neigh`, Command: ""},
		},
	})
}

// TestVLANLaws holds the laws for access and trunk ports.
func TestVLANLaws(t *testing.T) {
	host := name.Attachment{Network: "n", ContainerID: "c1", IfName: "eth0"}.HostLink()
	c := Conf{Bridge: "br0", VLAN: 100, VLANTrunk: &[]Trunk{{ID: ptr(7)}, {MinID: ptr(8), MaxID: ptr(9)}}, IsGateway: true}
	kerneltest.Prove(t, kerneltest.Case{
		Needs: []string{"vlan filtering"},
		Plan:  plugintest.Plan(t, bridge, "c1", c, "10.1.2.3/24"),
		Other: plugintest.Plan(t, bridge, "c0", c, "10.1.2.9/24"),
		Undo: []kerneltest.Undo{
			{Fact: `^nft  restore`},
			{Fact: `^link host bridge`, Command: "ip link set br0 type bridge vlan_filtering 0"},
			{Fact: `^link host veth`, Command: "ip link set " + host + " nomaster"},
			{Fact: `^link host br0.100`, Command: "ip link set br0.100 down"},
			{Fact: `^port`, Command: "bridge link set dev " + host + " isolated on"},
			{Fact: `^vlan`, Command: "bridge vlan del dev " + host + " vid 8"},
			{Fact: `^addr host br0.100`, Command: "ip addr del 10.1.2.1/24 dev br0.100"},
			{Fact: `^sysctl host net/ipv4`, Command: "sysctl -q net.ipv4.ip_forward=0"},
			{Fact: `^sysctl pod`},
			{Fact: `^addr pod eth0`, Command: "pod ip addr del 10.1.2.3/24 dev eth0"},
			{Fact: `^up   pod`, Command: "pod ip link set eth0 down"},
			{Fact: `^tell`},
			{Fact: `^neigh`},
		},
	})
}

// TestVLANs looks at the ports as the bridge program shows them, and at a
// bridge that was there without filtering.
func TestVLANs(t *testing.T) {
	kerneltest.Needs(t, "vlan filtering")
	for _, row := range []struct {
		name  string
		conf  Conf
		want  []string
		lacks string
	}{
		{"access", Conf{VLAN: 100}, []string{"100 PVID Egress Untagged"}, "\t1 PVID"},
		{"access that is in the trunk too", Conf{VLAN: 9, VLANTrunk: &[]Trunk{{MinID: ptr(8), MaxID: ptr(10)}}}, []string{" 9 PVID Egress Untagged", " 8\n", " 10\n"}, " 1 "},
		{"access that is the default", Conf{VLAN: 1}, []string{" 1 PVID Egress Untagged"}, "\t9"},
		{"access and the default", Conf{VLAN: 100, KeepDefaultVLAN: true}, []string{"100 PVID Egress Untagged", " 1 Egress Untagged"}, "\t9"},
		{"trunk", Conf{VLANTrunk: &[]Trunk{{MinID: ptr(8), MaxID: ptr(9)}}}, []string{" 8\n", " 9\n", " 1 PVID Egress Untagged"}, "100"},
		{"a large trunk", Conf{VLANTrunk: &[]Trunk{{MinID: ptr(2), MaxID: ptr(4094)}}}, []string{" 2", " 4094"}, "none"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := kerneltest.New(t)
			s.Run("ip link add br0 type bridge; ip link set br0 up")
			row.conf.Bridge = "br0"
			p := plugintest.Plan(t, bridge, "c1", row.conf)
			if err := p.Add(s.Kernel()); err != nil {
				t.Fatal(err)
			}
			if err := p.Check(s.Kernel()); err != nil {
				t.Error(err)
			}
			host := name.Attachment{Network: "n", ContainerID: "c1", IfName: "eth0"}.HostLink()
			out := s.Run("bridge vlan show dev " + host)
			for _, w := range row.want {
				if !strings.Contains(out, w) {
					t.Errorf("no %q in\n%s", w, out)
				}
			}
			if strings.Contains(out, row.lacks) {
				t.Errorf("%q in\n%s", row.lacks, out)
			}
			if !strings.Contains(s.Run("ip -d link show br0"), "vlan_filtering 1") {
				t.Error("the bridge that was there does not filter")
			}
		})
	}
}

// FuzzConf: any configuration is read well, or refused well.
func FuzzConf(f *testing.F) { plugintest.Fuzz(f, bridge) }
