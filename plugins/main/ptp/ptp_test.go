package main

import (
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plugintest"
)

func TestWant(t *testing.T) {
	plugintest.Golden(t, map[string]fact.Plan{
		"iptables": plugintest.Plan(t, ptp, "c1", Conf{IPMasq: true, IPMasqBackend: "iptables"}, "10.1.2.3/24"),
		"dual":     plugintest.Plan(t, ptp, "c1", Conf{MTU: 1400, IPMasq: true}, "10.1.2.3/24", "fd00:1:2::3/64"),
		"several":  plugintest.Plan(t, ptp, "c1", Conf{}, "10.1.2.3/24", "10.1.2.4/24", "10.9.0.5/16"),
		"single":   plugintest.Plan(t, ptp, "c1", Conf{}, "10.1.2.3/32 10.1.2.1"),
	})
}

func TestNoGateway(t *testing.T) {
	call := plugintest.At("c1", "10.1.2.3/24 none")
	if err := complete(call, Conf{}); err == nil || !strings.Contains(err.Error(), "gateway") {
		t.Errorf("%v", err)
	}
}

func TestLaws(t *testing.T) {
	host := plugintest.At("c1").HostLink()
	kerneltest.Prove(t, kerneltest.Case{
		Plan:  plugintest.Plan(t, ptp, "c1", Conf{MTU: 1400, IPMasq: true}, "10.1.2.3/24", "10.1.2.4/24", "10.7.7.7/32 10.7.7.1", "fd00:1:2::3/64"),
		Other: plugintest.Plan(t, ptp, "c0", Conf{MTU: 1400, IPMasq: true}, "10.1.2.9/24", "10.7.7.9/32 10.7.7.1", "fd00:1:2::9/64"),
		Undo: []kerneltest.Undo{
			{Fact: `^nft  restore`},
			{Fact: `^nft  masq`, Command: "nft delete element inet catena masq4 { 10.1.2.4 }"},
			{Fact: `^link`, Command: "ip link set " + host + " down"},
			{Fact: `^addr host \S+ 10.1.2.1`, Command: "ip addr del 10.1.2.1/32 dev " + host},
			{Fact: `^addr host \S+ 10.7.7.1`, Command: "ip addr del 10.7.7.1/32 dev " + host},
			{Fact: `^addr host \S+ fd00`, Command: "ip addr del fd00:1:2::1/128 dev " + host},
			{Fact: `^route host 10.1.2.3`, Command: "ip route del 10.1.2.3"},
			{Fact: `^route host 10.1.2.4`, Command: "ip route del 10.1.2.4"},
			{Fact: `^route host 10.7.7.7`, Command: "ip route del 10.7.7.7"},
			{Fact: `^route host fd00`, Command: "ip route del fd00:1:2::3"},
			{Fact: `^sysctl host net/ipv4`, Command: "sysctl -q net.ipv4.ip_forward=0"},
			{Fact: `^sysctl host net/ipv6`, Command: "sysctl -q net.ipv6.conf.all.forwarding=0"},
			{Fact: `^sysctl pod`},
			{Fact: `^addr pod eth0 10.1.2.3`, Command: "pod ip addr del 10.1.2.3/24 dev eth0"},
			{Fact: `^addr pod eth0 10.1.2.4`, Command: "pod ip addr del 10.1.2.4/24 dev eth0"},
			{Fact: `^addr pod eth0 10.7.7.7`, Command: "pod ip addr del 10.7.7.7/32 dev eth0"},
			{Fact: `^addr pod eth0 fd00`, Command: "pod ip addr del fd00:1:2::3/64 dev eth0"},
			{Fact: `^up   pod`, Command: "pod ip link set eth0 down"},
			{Fact: `^route pod 10.1.2.1`, Command: "pod ip route del 10.1.2.1"},
			{Fact: `^route pod 10.1.2.0`, Command: "pod ip route del 10.1.2.0/24"},
			{Fact: `^route pod 10.7.7.1`, Command: "pod ip route del 10.7.7.1"},
			{Fact: `^route pod fd00:1:2::1/128`, Command: "pod ip route del fd00:1:2::1"},
			{Fact: `^route pod fd00:1:2::/64`, Command: "pod ip route del fd00:1:2::/64"},
			{Fact: `^tell`},
		},
	})
}

// FuzzConf: any configuration is read well, or refused well.
func FuzzConf(f *testing.F) { plugintest.Fuzz(f, ptp) }
