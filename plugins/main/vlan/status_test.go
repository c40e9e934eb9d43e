package main

import (
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestStatus: STATUS fails where ADD would.
func TestStatus(t *testing.T) {
	kerneltest.Prospects{
		Plugins: []string{"plugins/main/vlan"}, Setup: kerneltest.Segment,
		Rows: []kerneltest.Prospect{
			{Keys: `,"master":"up0","vlanId":5`, Words: "no links of the kind vlan|CONFIG_VLAN_8021Q"},
			{Keys: `,"master":"up0","vlanId":5`, Setup: "ip link set up1 down", Words: "no links of the kind vlan"},
			{Keys: `,"master":"up0","vlanId":5`, Setup: "ip link set up0 down"},
			{Keys: `,"master":"nowhere","vlanId":5`},
		},
	}.Run(t)
}
