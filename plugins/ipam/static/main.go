// Command static gives the addresses that the configuration, the runtime or
// CNI_ARGS name.
package main

import (
	"github.com/catena-cni/catena/internal/plugin"
	"github.com/catena-cni/catena/internal/static"
)

func main() { plugin.Main(static.Plugin) }
