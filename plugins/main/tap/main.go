// Command tap gives a pod a tap device, for a virtual machine that runs in it.
package main

import (
	"github.com/catena-cni/catena/internal/fact/link"
	"github.com/catena-cni/catena/internal/plugin"
)

func main() {
	link.TapChild()
	plugin.Main(tap)
}
