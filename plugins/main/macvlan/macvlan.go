package main

import (
	"net"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/link"
	"github.com/catena-cni/catena/internal/ipam/builtin"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/plugin"
)

// Conf is macvlan's own part of the network configuration.
type Conf struct {
	plugin.OnMaster
	plugin.RuntimeMAC
	Mode        string `json:"mode" enum:"bridge,private,vepa,passthru" default:"bridge" doc:"which of the master's macvlans reach one another"`
	MAC         string `json:"mac" doc:"hardware address of the pod's link; made of the attachment where it is not given. Capability mac, args.cni.mac and MAC in CNI_ARGS come before it"`
	QueueLength uint32 `json:"bcqueuelen" doc:"how many broadcasts may wait; 0 takes the kernel's number"`

	mac net.HardwareAddr
}

var macvlan = plugin.Plugin[Conf]{
	Name: "macvlan", Builtin: builtin.Of, Args: []string{"MAC", "IP", "GATEWAY"}, MayChain: true,
	Validate: validate, MTU: func(c Conf) int { return c.OnMaster.MTU }, Want: want,
	Ready: func(k *kernel.Kernel, c Conf) error { return c.OnMaster.Ready(k, "macvlan") },
}

func validate(call *plugin.Call, c *Conf) (err error) {
	c.mac, err = c.FirstMAC(call, c.MAC)
	if c.mac == nil && c.Mode != "passthru" { // there it is the master's own
		c.mac = call.MAC("pod")
	}
	return err
}

// want lists what holds while a pod is attached.
func want(call plugin.Call, c Conf) fact.Plan {
	upper := c.Upper(call)
	upper.MAC = c.mac
	p := fact.Plan{link.Macvlan{Upper: upper, Mode: c.Mode, QueueLength: c.QueueLength}}
	return append(p, c.Interface(call).Facts(call)...)
}
