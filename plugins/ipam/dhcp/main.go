// Command dhcp gets addresses from DHCP servers. Run as "dhcp daemon" it is the
// daemon that keeps their leases; otherwise it is the plugin that asks it to.
package main

import (
	"os"

	"github.com/catena-cni/catena/internal/ipam/dhcp/daemon"
	"github.com/catena-cni/catena/internal/plugin"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "daemon" {
		os.Exit(daemon.Run(os.Args[2:]))
	}
	plugin.Main(plugin.IPAM{Plugin: dhcp})
}
