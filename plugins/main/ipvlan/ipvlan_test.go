package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plugin"
	"github.com/catena-cni/catena/internal/plugintest"
)

func TestWant(t *testing.T) {
	plugintest.Golden(t, map[string]fact.Plan{
		"l2": plugintest.Plan(t, ipvlan, "c1", Conf{OnMaster: plugin.OnMaster{Master: "up0"}}, "10.1.2.3/24", "fd00:1:2::3/64"),
		"l3": plugintest.Plan(t, ipvlan, "c1", Conf{Mode: "l3", OnMaster: plugin.OnMaster{DAD: "off"}}, "10.1.2.3/24", "fd00:1:2::3/64"),
	})
}

func TestLaws(t *testing.T) {
	kerneltest.Prove(t, kerneltest.Case{
		Needs: []string{"ipvlan"},
		Setup: func(s *kerneltest.Sandbox) {
			s.Run(kerneltest.Segment)
		},
		Plan:  plugintest.Plan(t, ipvlan, "c1", Conf{OnMaster: plugin.OnMaster{Master: "up0", MTU: 1400}, Mode: "l3s"}, "10.1.2.3/24", "fd00:1:2::3/64"),
		Other: plugintest.Plan(t, ipvlan, "c0", Conf{OnMaster: plugin.OnMaster{Master: "up0"}, Mode: "l3s"}, "10.1.2.9/24"),
		Undo:  append(kerneltest.UndoInterface(), kerneltest.Undo{Fact: `^link`, Command: "pod ip link set eth0 type ipvlan mode l2"}),
	})
}

// TestBehind: the master is the one interface of the plugins before, and their
// addresses are taken over.
func TestBehind(t *testing.T) {
	for name, row := range map[string]struct {
		interfaces []*cni.Interface
		master     string
		inPod      bool
	}{
		"on the host": {[]*cni.Interface{{Name: "up0"}}, "up0", false},
		"in the pod":  {[]*cni.Interface{{Name: "net0", Sandbox: "/n"}}, "net0", true},
		"two":         {[]*cni.Interface{{Name: "a"}, {Name: "b"}}, "", false},
		"none":        {nil, "", false},
	} {
		call := plugintest.At("c1", "10.1.2.3/24")
		call.IPAM, call.Result.Interfaces, call.Prev = "", row.interfaces, call.Result
		var c Conf
		err := validate(&call, &c)
		if (err == nil) != (row.master != "") || c.Master != row.master || c.InPod != row.inPod {
			t.Errorf("%s: master %q, in the pod %t, %v", name, c.Master, c.InPod, err)
		}
	}
}

// TestBehindAsUpstream: the result of a chain is upstream's to the letter, and
// CHECK takes both, with the plugin's own interface in it alone.
func TestBehindAsUpstream(t *testing.T) {
	ours, theirs := kerneltest.Build(t, "plugins/main/ipvlan"), kerneltest.Upstream(t, "ipvlan")
	kerneltest.Needs(t, "ipvlan")
	const conf = `{"cniVersion":"1.0.0","name":"n","type":"ipvlan"`
	const prev = `,"prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"up0"}],"ips":[{"address":"10.1.2.3/24","gateway":"10.1.2.1","interface":0},` +
		`{"address":"fd00:1:2::3/64","gateway":"fd00:1:2::1","interface":0}],"routes":[{"dst":"0.0.0.0/0"},{"dst":"fd00:9::/64","gw":"fd00:1:2::9"}]}}`
	var results [2]string
	for i, program := range []string{theirs, filepath.Join(ours, "ipvlan")} {
		s := kerneltest.New(t)
		s.Run(kerneltest.Segment + "; ip link set up0 address 02:00:00:00:00:07")
		call := kerneltest.Call{Bin: filepath.Dir(program), Plugin: "ipvlan", Conf: conf + prev}
		result := s.Must(call).Stdout
		s.Must(kerneltest.Call{Bin: ours, Plugin: "ipvlan", Verb: "CHECK", Conf: conf + `,"prevResult":` + result + "}"})
		results[i] = strings.ReplaceAll(strings.ReplaceAll(strings.Join(strings.Fields(result), ""), s.Pod, "POD"), `,"dns":{}`, "")
	}
	if results[0] != results[1] {
		t.Errorf("upstream's:\n%s\nours:\n%s", results[0], results[1])
	}
}

// FuzzConf: any configuration is read well, or refused well.
func FuzzConf(f *testing.F) { plugintest.Fuzz(f, ipvlan) }
