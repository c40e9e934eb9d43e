// Command loopback brings a pod's own loopback interface up.
package main

import "github.com/catena-cni/catena/internal/plugin"

func main() { plugin.Main(loopback) }
