package main

import (
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestStatus: STATUS fails where ADD would.
func TestStatus(t *testing.T) {
	kerneltest.Needs(t, "tun")
	kerneltest.Prospects{
		Plugins: []string{"plugins/main/tap"},
		Rows: []kerneltest.Prospect{
			{Words: "tap"},
			{Setup: "mount -t tmpfs none /dev/net", Words: "/dev/net/tun|no tap devices|CONFIG_TUN"},
		},
	}.Run(t)
}
