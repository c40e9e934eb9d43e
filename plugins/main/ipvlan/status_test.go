package main

import (
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestStatus: STATUS fails where ADD would. A master that is down, or has no
// carrier, is no hindrance.
func TestStatus(t *testing.T) {
	kerneltest.Prospects{
		Plugins: []string{"plugins/main/ipvlan"}, Setup: kerneltest.Segment,
		Rows: []kerneltest.Prospect{
			{Keys: `,"master":"up0"`, Words: "no links of the kind ipvlan"},
			{Keys: `,"master":"up0"`, Setup: "ip link set up1 down", Words: "no links of the kind ipvlan"},
			{Keys: `,"master":"up0"`, Setup: "ip link set up0 down", Words: "no links of the kind ipvlan"},
			{Keys: `,"master":"nowhere"`},
		},
	}.Run(t)
}
