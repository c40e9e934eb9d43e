// Command macvlan gives a pod a link with a hardware address of its own on a link of the host.
package main

import "github.com/catena-cni/catena/internal/plugin"

func main() { plugin.Main(macvlan) }
