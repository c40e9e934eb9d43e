// Command sbr is the CNI plugin for source based routing: what a pod sends from an address goes out by the interface that has it.
package main

import "github.com/catena-cni/catena/internal/plugin"

func main() { plugin.Main(sbr) }
