// Command bandwidth is the CNI plugin that limits what a pod sends and receives.
package main

import "github.com/catena-cni/catena/internal/plugin"

func main() { plugin.Main(bandwidth) }
