// Command ipvlan gives a pod a link that shares the hardware address of a link of the host.
package main

import "github.com/catena-cni/catena/internal/plugin"

func main() { plugin.Main(ipvlan) }
