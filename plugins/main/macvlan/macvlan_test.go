package main

import (
	"testing"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plugin"
	"github.com/catena-cni/catena/internal/plugintest"
)

func TestWant(t *testing.T) {
	plugintest.Golden(t, map[string]fact.Plan{
		"bridge":   plugintest.Plan(t, macvlan, "c1", Conf{OnMaster: plugin.OnMaster{Master: "up0", MTU: 1400}, MAC: "02:00:00:00:00:07"}, "10.1.2.3/24", "fd00:1:2::3/64"),
		"passthru": plugintest.Plan(t, macvlan, "c1", Conf{Mode: "passthru", OnMaster: plugin.OnMaster{InPod: true, DAD: "optimistic"}, QueueLength: 5}, "10.1.2.3/24", "fd00:1:2::3/64"),
		"layer2":   plugintest.Plan(t, macvlan, "c1", Conf{Mode: "vepa"}),
	})
}

func TestLaws(t *testing.T) {
	kerneltest.Prove(t, kerneltest.Case{
		Setup: func(s *kerneltest.Sandbox) {
			s.Run(kerneltest.Segment)
		},
		Plan:  plugintest.Plan(t, macvlan, "c1", Conf{OnMaster: plugin.OnMaster{Master: "up0", MTU: 1400}}, "10.1.2.3/24", "fd00:1:2::3/64"),
		Other: plugintest.Plan(t, macvlan, "c0", Conf{OnMaster: plugin.OnMaster{Master: "up0", DAD: "off"}}, "10.1.2.9/24"),
		Undo:  append(kerneltest.UndoInterface(), kerneltest.Undo{Fact: `^link`, Command: "pod ip link set eth0 type macvlan mode private"}),
	})
}

// FuzzConf: any configuration is read well, or refused well.
func FuzzConf(f *testing.F) { plugintest.Fuzz(f, macvlan) }
