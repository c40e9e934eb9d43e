// Package inside names the plugins that are part of others' programs.
package inside

import (
	"github.com/catena-cni/catena/internal/hostlocal"
	"github.com/catena-cni/catena/internal/plugin"
	"github.com/catena-cni/catena/internal/static"
)

// IPAM is those that are part of every plugin that makes an interface: nearly
// every node has one of them, and their work is done in less time than a program
// of their own takes to start.
var IPAM = []plugin.Program{hostlocal.Plugin, static.Plugin}
