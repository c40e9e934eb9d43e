// Command flannel attaches pods to the subnet that flanneld has leased for the
// node, by means of another plugin.
package main

import "github.com/catena-cni/catena/internal/plugin"

func main() { plugin.Main(flannel) }
