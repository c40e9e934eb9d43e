// Command portmap is the CNI plugin that leads ports of the host to a pod.
package main

import "github.com/catena-cni/catena/internal/plugin"

func main() { plugin.Main(portmap) }
