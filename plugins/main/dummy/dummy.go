package main

import (
	"net"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/link"
	"github.com/catena-cni/catena/internal/ipam/builtin"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/plugin"
)

// Conf is dummy's own part of the network configuration.
type Conf struct {
	MTU int    `json:"mtu" min:"0" max:"65535" doc:"MTU in bytes; 0 takes the kernel's default"`
	MAC string `json:"mac" doc:"hardware address of the pod's link; made of the attachment where it is not given"`

	mac net.HardwareAddr
}

var dummy = plugin.Plugin[Conf]{
	Name: "dummy", Builtin: builtin.Of, NeedsIPAM: true, Validate: validate, MTU: func(c Conf) int { return c.MTU }, Want: want,
	Ready: func(k *kernel.Kernel, _ Conf) error { return k.HasKind("dummy") },
}

func validate(call *plugin.Call, c *Conf) (err error) {
	c.mac, err = plugin.FirstMAC(c.MAC)
	if c.mac == nil {
		c.mac = call.MAC("pod")
	}
	return err
}

// want lists what holds while a pod is attached. Nobody is there to be told of
// the addresses, or to have them too.
func want(call plugin.Call, c Conf) fact.Plan {
	p := fact.Plan{link.Dummy{Link: call.IfName, MTU: c.MTU, MAC: c.mac}}
	return append(p, plugin.Interface{Name: call.IfName, Quiet: true}.Facts(call)...)
}
