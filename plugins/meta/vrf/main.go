// Command vrf is the CNI plugin that puts a pod's interface into a VRF: a routing table of its own, in which addresses of other interfaces may come again.
package main

import "github.com/catena-cni/catena/internal/plugin"

func main() { plugin.Main(vrf) }
