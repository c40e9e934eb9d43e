// Command host-local gives out addresses of the host's own ranges, and keeps
// them in files on the host.
package main

import (
	"github.com/catena-cni/catena/internal/ipam/hostlocal"
	"github.com/catena-cni/catena/internal/plugin"
)

func main() { plugin.Main(plugin.IPAM{Plugin: hostlocal.Plugin}) }
