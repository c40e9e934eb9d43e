package main

import (
	"net/netip"
	"testing"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plugintest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

func planOf(t *testing.T, id string, c Conf) fact.Plan {
	t.Helper()
	call := plugintest.At(id, "10.1.2.3/24", "fd00:1:2::3/64")
	for _, dst := range []string{"0.0.0.0/0", "10.77.0.0/16", "::/0"} {
		call.Result.Routes = append(call.Result.Routes, &cni.Route{Dst: cni.IPNet(netip.MustParsePrefix(dst))})
	}
	return plugintest.PlanAt(t, vrf, call, c)
}

func TestWant(t *testing.T) {
	plugintest.Golden(t, map[string]fact.Plan{
		"free":  planOf(t, "c1", Conf{VRFName: "blue"}),
		"table": planOf(t, "c1", Conf{VRFName: "blue", Table: 1001, FallThrough: true}),
	})
}

func TestLaws(t *testing.T) {
	for name, c := range map[string]Conf{"free": {VRFName: "blue"}, "table": {VRFName: "blue", Table: 1001, FallThrough: true}} {
		t.Run(name, func(t *testing.T) {
			kerneltest.Prove(t, kerneltest.Case{
				Needs: []string{"vrf"},
				Setup: func(s *kerneltest.Sandbox) { s.Run(kerneltest.TwoNetworks) },
				// The kernel's rule for VRFs comes with the first and stays.
				Plan: planOf(t, "c1", c), Other: planOf(t, "c0", c),
				Undo: []kerneltest.Undo{
					{Fact: "^link", Command: "pod ip -6 route del default table $(pod ip -d link show blue | grep -o 'vrf table [0-9]*' | cut -d' ' -f3)"},
					{Fact: "^dad"},
				},
			})
		})
	}
}

// FuzzConf: any configuration is read well, or refused well.
func FuzzConf(f *testing.F) { plugintest.Fuzz(f, vrf) }
