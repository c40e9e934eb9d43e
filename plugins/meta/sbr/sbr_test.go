package main

import (
	"net/netip"
	"testing"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plugin"
	"github.com/catena-cni/catena/internal/plugintest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// at is an attachment whose result has routes besides addresses.
func at(id string, addresses ...string) plugin.Call {
	call := plugintest.At(id, addresses...)
	for _, dst := range []string{"0.0.0.0/0", "10.77.0.0/16", "::/0"} {
		call.Result.Routes = append(call.Result.Routes, &cni.Route{Dst: cni.IPNet(netip.MustParsePrefix(dst))})
	}
	return call
}

func planOf(t *testing.T, id string, c Conf) fact.Plan {
	t.Helper()
	return plugintest.PlanAt(t, sbr, at(id, "10.1.2.3/24", "fd00:1:2::3/64"), c)
}

func table(n uint32) *uint32 { return &n }

func TestWant(t *testing.T) {
	plugintest.Golden(t, map[string]fact.Plan{
		"dual":     planOf(t, "c1", Conf{}),
		"gateways": planOf(t, "c1", Conf{Gateways: []string{"10.1.2.254", "fe80::1"}}),
		"hints":    planOf(t, "c1", Conf{Hints: true}),
		"table":    planOf(t, "c1", Conf{Table: table(5001), Gateways: []string{"10.1.2.254"}, Hints: true}),
		"several":  plugintest.Plan(t, sbr, "c1", Conf{}, "10.1.2.3/24", "10.1.2.4/24 none", "10.1.3.5/24", "10.1.2.3/24"),
	})
}

// setup makes the pod's interfaces as the plugins before this one would.
func setup(s *kerneltest.Sandbox) { s.Run(kerneltest.TwoNetworks) }

func TestLaws(t *testing.T) {
	for name, c := range map[string]Conf{
		"plain":    {},
		"gateways": {Gateways: []string{"10.1.2.254", "fd00:1:2::fe"}},
		"hints":    {Hints: true},
		"table":    {Table: table(5001)},
	} {
		t.Run(name, func(t *testing.T) {
			kerneltest.Prove(t, kerneltest.Case{
				Setup: setup, Plan: planOf(t, "c1", c), Other: planOf(t, "c0", c),
				Undo: []kerneltest.Undo{
					{Fact: "^rules", Command: "pod ip -6 rule del from fd00:1:2::3"},
					{Fact: "^routes pod eth0 in", Command: "pod ip -6 route del default table 101"},
					{Fact: "^routes pod eth0 out", Command: "pod ip route add 10.79.0.0/16 dev eth0"},
					{Fact: "^dad"},
				},
			})
		})
	}
}

// FuzzConf: any configuration is read well, or refused well.
func FuzzConf(f *testing.F) { plugintest.Fuzz(f, sbr) }
