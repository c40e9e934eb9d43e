package main

import (
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// TestBadInput: a clear error, and nothing has changed.
func TestBadInput(t *testing.T) {
	const ipam = `,"ipam":{"type":"host-local","subnet":"10.1.2.0/24"}`
	kerneltest.Refusals{
		Plugins: []string{"plugins/main/dummy", "plugins/ipam/host-local", "plugins/ipam/static"},
		Conf:    kerneltest.Minimal("dummy"),
		Rows: []kerneltest.Refusal{
			{Name: "no IPAM", Code: 7, Words: "dummy|ipam"},
			{Name: "no IPAM plugin", Conf: `,"ipam":{"type":"nowhere"}`, Code: 102, Words: `find plugin "nowhere"`},
			{Name: "wrong type", Conf: `,"mtu":"1400"` + ipam, Code: 6, Words: "mtu|whole number"},
			{Name: "negative mtu", Conf: `,"mtu":-1` + ipam, Code: 7, Words: "mtu is -1"},
			{Name: "mtu too small", Conf: `,"mtu":67` + ipam, Code: 7, Words: "mtu is 67|68"},
			{Name: "mtu too small for IPv6", Conf: `,"mtu":1200,"ipam":{"type":"static","addresses":[{"address":"fd00:1:2::2/64","gateway":"fd00:1:2::1"}]}`, Code: 7, Words: "mtu is 1200|1280"},
			{Name: "large mtu", Conf: `,"mtu":65536` + ipam, Code: 7, Words: "mtu is 65536"},
			{Name: "no MAC", Conf: `,"mac":"zz"` + ipam, Code: 7, Words: `mac is "zz"`},
			{Name: "a group's MAC", Conf: `,"mac":"01:00:5e:00:00:01"` + ipam, Code: 7, Words: "unicast"},
			{Name: "interface exists", Conf: ipam, Setup: "pod ip link add eth0 type veth peer name x", Code: 101, Words: "eth0|already"},
			{Name: "unknown key, strict", Conf: `,"strict":true,"mtuu":1400` + ipam, Code: 2, Words: "did you mean mtu"},
		},
	}.Run(t)
}
