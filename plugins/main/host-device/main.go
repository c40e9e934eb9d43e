// Command host-device gives a pod a network device of the host.
package main

import "github.com/catena-cni/catena/internal/plugin"

func main() { plugin.Main(hostDevice) }
