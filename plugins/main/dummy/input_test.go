package main

import (
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// TestBadInput: a clear error, and nothing has changed.
func TestBadInput(t *testing.T) {
	const ipam = `,"ipam":{"type":"host-local","subnet":"10.1.2.0/24"}`
	for _, row := range []struct {
		name, more, setup string
		code              uint
		words             string // separated by bars
	}{
		{"no IPAM", ``, "", 7, "dummy|ipam"},
		{"no IPAM plugin", `,"ipam":{"type":"nowhere"}`, "", 102, `find plugin "nowhere"`},
		{"wrong type", `,"mtu":"1400"` + ipam, "", 6, "mtu|whole number"},
		{"negative mtu", `,"mtu":-1` + ipam, "", 7, "mtu is -1"},
		{"large mtu", `,"mtu":65536` + ipam, "", 7, "mtu is 65536"},
		{"no MAC", `,"mac":"zz"` + ipam, "", 7, `mac is "zz"`},
		{"a group's MAC", `,"mac":"01:00:5e:00:00:01"` + ipam, "", 7, "unicast"},
		{"interface exists", ipam, "pod ip link add eth0 type veth peer name x", 101, "eth0|already"},
		{"unknown key, strict", `,"strict":true,"mtuu":1400` + ipam, "", 2, "did you mean mtu"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			bin := kerneltest.Build(t, "plugins/main/dummy", "plugins/ipam/host-local")
			s := kerneltest.New(t)
			if row.setup != "" {
				s.Run(row.setup)
			}
			s.Refuses(kerneltest.Call{Bin: bin, Plugin: "dummy", Conf: `{"cniVersion":"1.0.0","name":"n","type":"dummy"` + row.more + `}`}, row.code, strings.Split(row.words, "|")...)
		})
	}
}
