// Command firewall is the CNI plugin that lets a pod's traffic through the
// host's firewall, and keeps bridges apart.
package main

import "github.com/catena-cni/catena/internal/plugin"

func main() { plugin.Main(firewall) }
