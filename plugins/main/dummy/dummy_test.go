package main

import (
	"testing"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plugintest"
)

func TestWant(t *testing.T) {
	plugintest.Golden(t, map[string]fact.Plan{
		"dual": plugintest.Plan(t, dummy, "c1", Conf{MTU: 1400}, "10.1.2.3/24", "fd00:1:2::3/64"),
	})
}

func TestLaws(t *testing.T) {
	kerneltest.Prove(t, kerneltest.Case{
		Needs: []string{"dummy"},
		Setup: func(s *kerneltest.Sandbox) {
			s.Run(kerneltest.Segment)
		},
		Plan:  plugintest.Plan(t, dummy, "c1", Conf{MTU: 1400}, "10.1.2.3/24", "fd00:1:2::3/64"),
		Other: plugintest.Plan(t, dummy, "c0", Conf{}, "10.1.2.9/24"),
		Undo:  append(kerneltest.UndoInterface(), kerneltest.Undo{Fact: `^link`, Command: "pod ip link del eth0; pod ip link add eth0 type veth peer name other"}),
	})
}

// FuzzConf: any configuration is read well, or refused well.
func FuzzConf(f *testing.F) { plugintest.Fuzz(f, dummy) }
