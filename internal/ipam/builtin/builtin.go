// Package builtin lists the IPAM plugins that are part of others' programs.
package builtin

import (
	"github.com/catena-cni/catena/internal/ipam"
	"github.com/catena-cni/catena/internal/ipam/hostlocal"
	"github.com/catena-cni/catena/internal/ipam/static"
)

// Plugins is those that are part of every plugin that makes an interface: nearly
// every node has one of them, and their work is done in less time than a program
// of their own takes to start.
var Plugins = []ipam.Plugin{hostlocal.Plugin, static.Plugin}
