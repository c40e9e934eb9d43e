// Command dummy gives a pod a link that leads nowhere, for addresses that only it has.
package main

import "github.com/catena-cni/catena/internal/plugin"

func main() { plugin.Main(dummy) }
