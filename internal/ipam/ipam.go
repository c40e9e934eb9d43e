// Package ipam names the plugins that are part of others' programs.
package ipam

import (
	"github.com/catena-cni/catena/internal/ipam/hostlocal"
	"github.com/catena-cni/catena/internal/ipam/static"
	"github.com/catena-cni/catena/internal/plugin"
)

// Builtin is those that are part of every plugin that makes an interface: nearly
// every node has one of them, and their work is done in less time than a program
// of their own takes to start.
var Builtin = []plugin.Program{hostlocal.Plugin, static.Plugin}
