package main

import (
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// TestBadInput: a clear error, and nothing has changed.
func TestBadInput(t *testing.T) {
	kerneltest.Refusals{
		Plugins: []string{"plugins/main/vlan", "plugins/ipam/static"},
		Conf:    kerneltest.Minimal("vlan"),
		Setup:   "ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up",
		Rows: []kerneltest.Refusal{
			{Name: "no master", Conf: `,"vlanId":5`, Code: 7, Words: "vlan needs a master"},
			{Name: "no master there", Conf: `,"master":"nowhere","vlanId":5`, Code: 102, Words: "nowhere"},
			{Name: "a master in the pod that is not", Conf: `,"master":"up0","vlanId":5,"linkInContainer":true`, Code: 102, Words: "up0"},
			{Name: "wrong type", Conf: `,"master":"up0","vlanId":"5"`, Code: 6, Words: "vlanId|whole number"},
			{Name: "id too large", Conf: `,"master":"up0","vlanId":4095`, Code: 7, Words: "vlanId is 4095|0 to 4094"},
			{Name: "negative id", Conf: `,"master":"up0","vlanId":-1`, Code: 7, Words: "vlanId is -1"},
			{Name: "mtu above the master's", Conf: `,"master":"up0","vlanId":5,"mtu":9000`, Code: 100, Words: "9000|1500|up0"},
			{Name: "mtu too small", Conf: `,"master":"up0","vlanId":5,"mtu":67`, Code: 7, Words: "mtu is 67|68"},
			{Name: "mtu too small for IPv6", Conf: `,"master":"up0","vlanId":5,"mtu":1200,"ipam":{"type":"static","addresses":[{"address":"fd00:1:2::2/64","gateway":"fd00:1:2::1"}]}`, Code: 7, Words: "mtu is 1200|1280"},
			{Name: "a master's mtu too small for IPv6", Conf: `,"master":"up0","vlanId":5,"ipam":{"type":"static","addresses":[{"address":"fd00:1:2::2/64","gateway":"fd00:1:2::1"}]}`, Setup: "ip link set up0 mtu 1200", Needs: []string{"vlan"}, Code: 100, Words: "the mtu of eth0 is 1200|1280"},
			{Name: "negative mtu", Conf: `,"master":"up0","vlanId":5,"mtu":-1`, Code: 7, Words: "mtu is -1"},
			{Name: "unknown policy", Conf: `,"master":"up0","dad":"maybe"`, Code: 7, Words: "dad|optimistic"},
			{Name: "interface exists", Conf: `,"master":"up0","vlanId":5`, Setup: "pod ip link add eth0 type veth peer name x", Code: 101, Words: "eth0"},
			{Name: "unknown key, strict", Conf: `,"master":"up0","vlanID":5,"strict":true,"mastr":"x"`, Code: 2, Words: "did you mean master"},
			{Name: "a master that carries none", Conf: `,"master":"lo","vlanId":5`, Needs: []string{"vlan"}, Code: 100, Words: "a vlan as it is wanted|VLANs not supported on device"},
			{Name: "a master that is down", Conf: `,"master":"up0","vlanId":5`, Setup: "ip link set up0 down", Code: 100, Words: "master up0 is down"},
			{Name: "VLAN is somebody's", Conf: `,"master":"up0","vlanId":5`, Setup: "ip link add link up0 name up0.5 type vlan id 5", Needs: []string{"vlan"}, Code: 101, Words: "vlan 5|up0 has a link for this VLAN"},
		},
	}.Run(t)
}
