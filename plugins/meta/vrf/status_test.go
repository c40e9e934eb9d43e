package main

import (
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestStatus: STATUS fails where ADD would.
func TestStatus(t *testing.T) {
	kerneltest.Prospects{
		Plugins: []string{"plugins/meta/vrf"}, Setup: kerneltest.TwoNetworks,
		Rows: []kerneltest.Prospect{
			{Keys: `,"vrfname":"blue",` + kerneltest.TwoNetworksPrev, Words: "no links of the kind vrf|CONFIG_NET_VRF"},
		},
	}.Run(t)
}
