// Command tuning changes settings of an interface that a plugin before it made,
// and of the pod's network namespace. DEL takes all of them back.
package main

import "github.com/catena-cni/catena/internal/plugin"

func main() { plugin.Main(tuningPlugin) }
