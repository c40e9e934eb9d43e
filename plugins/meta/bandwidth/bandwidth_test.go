package main

import (
	"testing"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plugin"
	"github.com/catena-cni/catena/internal/plugintest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

func ptr[T any](v T) *T { return &v }

// limits are of 80 Mbit/s to the pod and 40 Mbit/s from it.
func limits() Limits { return Limits{IngressRate: ptr[uint64](80e6), EgressRate: ptr[uint64](40e6)} }

var subnets = []string{"10.9.0.0/16", "192.0.2.7/32", "fd09::/16", "2001:db8:1:2::/64"}

// at is the attachment with what the plugin before this one has made.
func at(id string) plugin.Call {
	call := plugintest.At(id, "10.1.2.3/24")
	call.Result.Interfaces = []*cni.Interface{{Name: "host0"}, {Name: "eth0", Sandbox: call.Netns}}
	call.Prev = call.Result
	return call
}

func planOf(t *testing.T, id string, c Conf) fact.Plan {
	return plugintest.PlanAt(t, bandwidth, at(id), c)
}

func TestWant(t *testing.T) {
	containerd := limits()
	containerd.IngressBurst, containerd.EgressBurst = ptr[uint64](4294967295), ptr[uint64](1<<40)
	burst := limits()
	burst.IngressBurst = ptr[uint64](4294967294)
	plugintest.Golden(t, map[string]fact.Plan{
		"none":       planOf(t, "c1", Conf{}),
		"both":       planOf(t, "c1", Conf{Limits: limits()}),
		"ingress":    planOf(t, "c1", Conf{Limits: Limits{IngressRate: ptr[uint64](1)}}),
		"egress":     planOf(t, "c1", Conf{Limits: Limits{EgressRate: ptr[uint64](1 << 63)}}),
		"burst":      planOf(t, "c1", Conf{Limits: burst}),
		"containerd": planOf(t, "c1", Conf{RuntimeConfig: RuntimeConfig{containerd}}),
		"first":      planOf(t, "c1", Conf{Limits: Limits{IngressRate: ptr[uint64](0)}, RuntimeConfig: RuntimeConfig{limits()}}),
		"exempt":     planOf(t, "c1", Conf{Limits: limits(), ExemptSubnets: append(subnets, "10.9.8.7/16")}),
		"pod":        planOf(t, "c1", Conf{Limits: limits(), EgressShaper: "pod", ExemptSubnets: subnets}),
	})
}

// setup makes the pair of links as a plugin before this one would.
func setup(s *kerneltest.Sandbox) { s.Run(makeLink) }

const makeLink = `ip link add host0 type veth peer name eth0 netns "$POD"; ip link set host0 up; pod ip link set eth0 up; pod ip link set lo up`

// look shows what Sandbox.Text does not. The hook stays.
const look = `for in in "" pod; do $in tc qdisc show | grep -v clsact; for dev in host0 eth0 ; do ` +
	`for where in root ingress; do $in tc filter show dev $dev $where 2>/dev/null; done; done; done; true`

func TestLaws(t *testing.T) {
	laws(t, Conf{Limits: limits()}, []kerneltest.Undo{
		{Fact: `^tbf host`, Command: "tc qdisc del dev host0 root"},
		{Fact: `^queue host`, Command: "tc qdisc replace dev host0 parent 1:1 handle 5: pfifo"},
		{Fact: `^link`, Command: "ip link del $(ip -br link show type ifb | cut -d' ' -f1)"},
		{Fact: `^tbf bwp`, Command: "tc qdisc change dev $(ip -br link show type ifb | cut -d' ' -f1) root handle 1: tbf rate 9mbit burst 10k limit 10k"},
		{Fact: `^queue bwp`, Command: "tc qdisc replace dev $(ip -br link show type ifb | cut -d' ' -f1) parent 1:1 handle 5: pfifo"},
		{Fact: `^hook`, Command: "tc qdisc del dev host0 clsact"},
		{Fact: `^redirect`, Command: "tc filter del dev host0 ingress prio 60003"},
	})
}

func TestLawsOfPod(t *testing.T) {
	c := Conf{Limits: limits(), EgressShaper: "pod"}
	c.IngressRate = nil
	laws(t, c, []kerneltest.Undo{
		{Fact: `^tbf`, Command: "pod tc qdisc del dev eth0 root"},
		{Fact: `^queue`, Command: "pod tc qdisc replace dev eth0 parent 1:1 handle 5: pfifo"},
	})
}

func TestLawsOfExempt(t *testing.T) {
	laws(t, Conf{Limits: limits(), ExemptSubnets: subnets}, []kerneltest.Undo{
		{Fact: `^prio host`, Command: "tc filter del dev host0 parent 10: prio 2"},
		{Fact: `^queue host's end of eth0 below 10:1`, Command: "tc qdisc replace dev host0 parent 10:1 handle 5: pfifo"},
		{Fact: `^tbf host`, Command: "tc qdisc del dev host0 parent 10:2"},
		{Fact: `^redirect`, Command: "tc filter del dev host0 ingress prio 60001"},
		{Fact: ``},
	}, "prio", "fq_codel")
}

func TestLawsOfExemptInPod(t *testing.T) {
	laws(t, Conf{Limits: limits(), ExemptSubnets: subnets, EgressShaper: "pod"}, []kerneltest.Undo{
		{Fact: `^prio pod`, Command: "pod tc filter del dev eth0 parent 10: prio 1"},
		{Fact: `^tbf pod`, Command: "pod tc qdisc del dev eth0 parent 10:2"},
		{Fact: ``},
	}, "prio", "fq_codel")
}

func laws(t *testing.T, c Conf, undo []kerneltest.Undo, needs ...string) {
	t.Helper()
	kerneltest.Prove(t, kerneltest.Case{
		Plan: planOf(t, "c1", c), Other: planOf(t, "c0", c), Setup: setup, Look: look, Undo: undo, Needs: append(needs, "shaping"),
	})
}

// FuzzConf: any configuration is read well, or refused well.
func FuzzConf(f *testing.F) { plugintest.Fuzz(f, bandwidth) }
