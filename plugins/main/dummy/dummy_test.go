package main

import (
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plan"
	"github.com/catena-cni/catena/internal/plugintest"
)

func planOf(t *testing.T, id string, c Conf, addresses ...string) plan.Plan {
	t.Helper()
	at := plugintest.At(id, addresses...)
	if err := validate(&at, &c); err != nil {
		t.Fatal(err)
	}
	if err := complete(at, c); err != nil {
		t.Fatal(err)
	}
	return want(at, c)
}

func TestWant(t *testing.T) {
	for file, p := range map[string]plan.Plan{
		"dual": planOf(t, "c1", Conf{MTU: 1400}, "10.1.2.3/24", "fd00:1:2::3/64"),
	} {
		t.Run(file, func(t *testing.T) { kerneltest.Golden(t, "testdata/"+file+".plan", p.String()) })
	}
}

func TestLaws(t *testing.T) {
	kerneltest.Prove(t, kerneltest.Case{
		Needs: []string{"dummy"},
		Setup: func(s *kerneltest.Sandbox) {
			s.Run("ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up")
		},
		Plan:  planOf(t, "c1", Conf{MTU: 1400}, "10.1.2.3/24", "fd00:1:2::3/64"),
		Other: planOf(t, "c0", Conf{}, "10.1.2.9/24"),
		Undo: []kerneltest.Undo{
			{Fact: `^link`, Command: "pod ip link del eth0; pod ip link add eth0 type veth peer name other"},
			{Fact: `^sysctl pod`},
			{Fact: `^addr pod eth0 10.1.2.3`, Command: "pod ip addr del 10.1.2.3/24 dev eth0"},
			{Fact: `^addr pod eth0 fd00`, Command: "pod ip addr del fd00:1:2::3/64 dev eth0"},
			{Fact: `^up   pod`, Command: "pod ip link set eth0 down"},
			{Fact: `^dad`},
			{Fact: `^tell`},
		},
	})
}
