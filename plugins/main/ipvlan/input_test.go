package main

import (
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// TestBadInput: a clear error, and nothing has changed.
func TestBadInput(t *testing.T) {
	kerneltest.Refusals{
		Plugins: []string{"plugins/main/ipvlan", "plugins/ipam/static"},
		Conf:    kerneltest.Minimal("ipvlan"),
		Setup:   "ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up",
		Rows: []kerneltest.Refusal{
			{Name: "no default route", Code: 100, Words: "master is not given|default route"},
			{Name: "no master there", Conf: `,"master":"nowhere"`, Code: 102, Words: "nowhere"},
			{Name: "a master in the pod that is not", Conf: `,"master":"up0","linkInContainer":true`, Code: 102, Words: "up0"},
			{Name: "two masters behind others", Conf: `,"prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"a"},{"name":"b"}]}`, Code: 7, Words: "master is not given|name it"},
			{Name: "unknown mode", Conf: `,"master":"up0","mode":"l4"`, Code: 7, Words: "mode|l3s"},
			{Name: "wrong type", Conf: `,"master":1`, Code: 6, Words: "master|string"},
			{Name: "mtu above the master's", Conf: `,"master":"up0","mtu":9000`, Code: 100, Words: "9000|1500|up0"},
			{Name: "mtu too small", Conf: `,"master":"up0","mtu":67`, Code: 7, Words: "mtu is 67|68"},
			{Name: "mtu too small for IPv6", Conf: `,"master":"up0","mtu":1200,"ipam":{"type":"static","addresses":[{"address":"fd00:1:2::2/64","gateway":"fd00:1:2::1"}]}`, Code: 7, Words: "mtu is 1200|1280"},
			{Name: "a master's mtu too small for IPv6", Conf: `,"master":"up0","ipam":{"type":"static","addresses":[{"address":"fd00:1:2::2/64","gateway":"fd00:1:2::1"}]}`, Setup: "ip link set up0 mtu 1200", Needs: []string{"ipvlan"}, Code: 100, Words: "the mtu of eth0 is 1200|1280"},
			{Name: "negative mtu", Conf: `,"master":"up0","mtu":-1`, Code: 7, Words: "mtu is -1"},
			{Name: "unknown policy", Conf: `,"master":"up0","dad":"maybe"`, Code: 7, Words: "dad|optimistic"},
			{Name: "interface exists", Conf: `,"master":"up0"`, Setup: "pod ip link add eth0 type veth peer name x", Code: 101, Words: "eth0"},
			{Name: "unknown key, strict", Conf: `,"master":"up0","strict":true,"moed":"l2"`, Code: 2, Words: "did you mean mode"},
			{Name: "a bridge's port", Conf: `,"master":"up0"`, Setup: "ip link add br0 type bridge; ip link set up0 master br0", Needs: []string{"ipvlan"}, Code: 100, Words: "up0 is a port of br0"},
		},
	}.Run(t)
}
