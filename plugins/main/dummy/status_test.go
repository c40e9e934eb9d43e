package main

import (
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestStatus: STATUS fails where ADD would.
func TestStatus(t *testing.T) {
	kerneltest.Prospects{
		Plugins: []string{"plugins/main/dummy", "plugins/ipam/static"},
		Rows: []kerneltest.Prospect{
			{Keys: `,"ipam":{"type":"static","addresses":[{"address":"10.1.2.3/24"}]}`, Words: "no links of the kind dummy|CONFIG_DUMMY"},
		},
	}.Run(t)
}
