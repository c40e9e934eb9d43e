// Command bridge joins pods to a bridge of the host, each by a veth pair.
package main

import "github.com/catena-cni/catena/internal/plugin"

func main() { plugin.Main(bridge) }
