// Package builtin is the IPAM plugins that are part of others' programs.
package builtin

import (
	"slices"

	"github.com/catena-cni/catena/internal/ipam"
	"github.com/catena-cni/catena/internal/ipam/hostlocal"
	"github.com/catena-cni/catena/internal/ipam/static"
)

// plugins are part of every plugin that makes an interface: nearly every node has
// one of them, and their work is done in less time than a program of their own
// takes to start.
var plugins = []ipam.Plugin{hostlocal.Plugin, static.Plugin}

// Of is the plugin that does what the program at a path would: one of the list,
// where the program is of the same build.
func Of(kind, path string) (p ipam.Plugin, is bool) {
	i := slices.IndexFunc(plugins, func(p ipam.Plugin) bool { return p.Name == kind })
	if i < 0 || !sameBuild(path) {
		return ipam.Plugin{}, false
	}
	return plugins[i], true
}
