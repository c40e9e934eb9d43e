// Command static gives the addresses that the configuration, the runtime or
// CNI_ARGS name.
package main

import (
	"github.com/catena-cni/catena/internal/ipam/static"
	"github.com/catena-cni/catena/internal/plugin"
)

func main() { plugin.Main(plugin.IPAM{Plugin: static.Plugin}) }
