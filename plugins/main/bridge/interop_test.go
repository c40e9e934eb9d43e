package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kerneltest"
)

// withResult is a configuration with the result of an ADD, as CHECK gets it.
func withResult(conf, result string) string {
	return strings.TrimSuffix(conf, "}") + `,"prevResult":` + result + "}"
}

// TestVLANsAsUpstream: a port is in the VLANs that upstream's plugin puts it into,
// and CHECK takes one of upstream's making.
func TestVLANsAsUpstream(t *testing.T) {
	ours, theirs := kerneltest.Build(t, "plugins/main/bridge"), kerneltest.Upstream(t, "bridge")
	kerneltest.Needs(t, "vlan filtering")
	for _, bridge := range []string{"", "vlan_default_pvid 10", "vlan_default_pvid 0"} {
		for _, keys := range []string{
			`"vlan":100`, `"vlan":1`, `"vlanTrunk":[{"id":7}]`, `"vlanTrunk":[{"minID":1,"maxID":5}]`, `"vlanTrunk":[]`, `"vlan":100,"vlanTrunk":[{"minID":8,"maxID":12}]`,
		} {
			for _, keep := range []bool{false, true} {
				t.Run(fmt.Sprint(bridge, keys, keep), func(t *testing.T) {
					t.Parallel()
					conf := fmt.Sprintf(`{"cniVersion":"1.0.0","name":"n","type":"bridge","bridge":"br0",%s,"preserveDefaultVlan":%t}`, keys, keep)
					made := func(bin, plugin string) (s *kerneltest.Sandbox, vlans, result string) {
						s = kerneltest.New(t)
						s.Run("ip link add br0 type bridge vlan_filtering 1 " + bridge + "; ip link set br0 up")
						result = s.Must(kerneltest.Call{Bin: bin, Plugin: plugin, Conf: conf}).Stdout
						var r cni.Result
						if err := json.Unmarshal([]byte(result), &r); err != nil {
							t.Fatal(err)
						}
						port := r.Interfaces[1].Name
						return s, strings.ReplaceAll(s.Run("bridge vlan show dev "+port), port, "PORT"), result
					}
					_, got, _ := made(ours, "bridge")
					s, want, result := made(filepath.Dir(theirs), filepath.Base(theirs))
					if strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(want), " ") {
						t.Errorf("ours:\n%supstream's:\n%s", got, want)
					}
					s.Must(kerneltest.Call{Bin: ours, Plugin: "bridge", Verb: "CHECK", Conf: withResult(conf, result)})
				})
			}
		}
	}
}
