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

// TestRoutesAsUpstream: of two networks with routes to the same destination the
// last one's comes first, and so does a route to the pod's own subnet with a
// gateway. CHECK of both stays right.
func TestRoutesAsUpstream(t *testing.T) {
	t.Parallel()
	ours := kerneltest.Build(t, "plugins/main/bridge", "plugins/ipam/host-local")
	theirs := filepath.Dir(kerneltest.Upstream(t, "bridge"))
	kerneltest.Upstream(t, "host-local")
	var tables [2]string
	for i, bin := range []string{theirs, ours} {
		s := kerneltest.New(t)
		var confs, results []string
		for n, ifname := range []string{"eth0", "eth1"} {
			conf := fmt.Sprintf(`{"cniVersion":"1.0.0","name":"n%[1]d","type":"bridge","bridge":"br%[1]d","isDefaultGateway":true,"ipam":{"type":"host-local",`+
				`"ranges":[[{"subnet":"10.%[1]d.2.0/24"}],[{"subnet":"fd00:%[1]d::/64"}]],"routes":[{"dst":"10.%[1]d.2.0/24","gw":"10.%[1]d.2.9"},{"dst":"10.9.0.0/16"},{"dst":"fd00:9::/64"},`+
				`{"dst":"10.8.0.0/16","priority":%[1]d}]}}`, n+1)
			confs, results = append(confs, conf), append(results, s.Must(kerneltest.Call{Bin: bin, Plugin: "bridge", IfName: ifname, Conf: conf}).Stdout)
		}
		tables[i] = s.Run(`pod ip route; pod ip -6 route | sed 's/^fe80::.*//'; for a in 8.8.8.8 10.1.2.77 10.2.2.77 10.9.1.1 10.8.0.1; do pod ip -o route get $a; done`)
		for n, ifname := range []string{"eth0", "eth1"} {
			s.Must(kerneltest.Call{Bin: ours, Plugin: "bridge", IfName: ifname, Verb: "CHECK", Conf: withResult(confs[n], results[n])})
		}
	}
	if tables[0] != tables[1] {
		t.Errorf("upstream's:\n%s\nours:\n%s", tables[0], tables[1])
	}
	if !strings.Contains(tables[1], "8.8.8.8 via 10.2.2.1 dev eth1") || !strings.Contains(tables[1], "10.1.2.77 via 10.1.2.9 dev eth0") {
		t.Errorf("ours:\n%s", tables[1])
	}
}

// TestCheckSeesAddresses: CHECK sees that an interface of the result has another
// hardware address. That of a bridge of upstream's without a gateway may change
// with its ports.
func TestCheckSeesAddresses(t *testing.T) {
	ours := kerneltest.Build(t, "plugins/main/bridge", "plugins/ipam/host-local")
	theirs := filepath.Dir(kerneltest.Upstream(t, "bridge"))
	kerneltest.Upstream(t, "host-local")
	const gateway = `,"isGateway":true,"ipam":{"type":"host-local","subnet":"10.1.2.0/24"}`
	for _, row := range []struct {
		name, bin, keys, change string
		says                    string // nothing where CHECK is well
	}{
		{"bridge", ours, "", "ip link set br0 address 02:00:00:00:00:09", "br0|02:00:00:00:00:09"},
		{"bridge and gateway", ours, gateway, "ip link set br0 address 02:00:00:00:00:09", "br0|02:00:00:00:00:09"},
		{"pod", ours, "", "pod ip link set eth0 address 02:00:00:00:00:09", "pod's eth0|02:00:00:00:00:09"},
		{"host's end", ours, "", "ip link set $HOST address 02:00:00:00:00:09", "host's veth|02:00:00:00:00:09"},
		{"more ports", ours, "", "ip link add low type veth peer name lower; ip link set low address 00:00:00:00:00:02; ip link set low master br0 up", ""},
		{"upstream's gateway", theirs, gateway, "ip link set br0 address 02:00:00:00:00:09", "br0|02:00:00:00:00:09"},
		{"upstream's bridge", theirs, "", "ip link add low type veth peer name lower; ip link set low address 00:00:00:00:00:02; ip link set low master br0 up", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := kerneltest.New(t)
			conf := kerneltest.Minimal("bridge")(`,"bridge":"br0"` + row.keys)
			result := s.Must(kerneltest.Call{Bin: row.bin, Plugin: "bridge", Conf: conf}).Stdout
			var r cni.Result
			if err := json.Unmarshal([]byte(result), &r); err != nil {
				t.Fatal(err)
			}
			check := kerneltest.Call{Bin: ours, Plugin: "bridge", Verb: "CHECK", Conf: withResult(conf, result)}
			s.Must(check)
			s.Run("HOST=" + r.Interfaces[1].Name + "; " + row.change)
			a := s.Call(check)
			if (a.Exit == 0) != (row.says == "") {
				t.Fatalf("exit %d: %s", a.Exit, a.Msg)
			}
			for _, w := range strings.Split(row.says, "|") {
				if !strings.Contains(a.Msg, w) {
					t.Errorf("no %q in: %s", w, a.Msg)
				}
			}
		})
	}
}
