// Command vlan gives a pod the frames of one VLAN of a link of the host.
package main

import "github.com/catena-cni/catena/internal/plugin"

func main() { plugin.Main(vlan) }
