// Command ptp joins a pod to the host with a veth pair and host routes.
package main

import "github.com/catena-cni/catena/internal/plugin"

func main() { plugin.Main(ptp) }
