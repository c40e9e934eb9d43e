package main

import (
	"errors"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/link"
	"github.com/catena-cni/catena/internal/ipam/builtin"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/plugin"
)

// Conf is vlan's own part of the network configuration.
type Conf struct {
	plugin.OnMaster
	ID int `json:"vlanId" min:"0" max:"4094" doc:"the VLAN; 0 is frames with a priority alone. A VLAN of a master has room for one pod: for more use bridge or macvlan on a VLAN link of the host"`
}

var vlan = plugin.Plugin[Conf]{
	Name: "vlan", Builtin: builtin.Of, MayChain: true,
	Validate: validate, MTU: func(c Conf) int { return c.OnMaster.MTU }, Want: want, Ready: ready,
}

func validate(_ *plugin.Call, c *Conf) error {
	if c.Master == "" {
		return errors.New("vlan needs a master: the link whose frames have the tags")
	}
	return nil
}

func ready(k *kernel.Kernel, c Conf) error {
	if err := c.OnMaster.Ready(k, "vlan"); err != nil || c.InPod {
		return err
	}
	return link.VLAN{Upper: c.Upper(plugin.Call{})}.Usable(k)
}

// want lists what holds while a pod is attached.
func want(call plugin.Call, c Conf) fact.Plan {
	p := fact.Plan{link.VLAN{Upper: c.Upper(call), ID: uint16(c.ID)}}
	return append(p, c.Interface(call).Facts(call)...)
}
