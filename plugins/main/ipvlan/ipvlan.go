package main

import (
	"errors"
	"slices"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/link"
	"github.com/catena-cni/catena/internal/ipam/builtin"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/plugin"
)

// Conf is ipvlan's own part of the network configuration.
type Conf struct {
	plugin.OnMaster
	Mode string `json:"mode" enum:"l2,l3,l3s" default:"l2" doc:"whether the host switches (l2) or routes (l3) between the master's ipvlans; l3s routes with its packet filter. One for all on a master: the kernel gives the last one's to all"`

	// masterIsPrev says that the master is another plugin's interface, which neither
	// STATUS nor a result that has this plugin's own can tell.
	masterIsPrev bool
}

var ipvlan = plugin.Plugin[Conf]{
	Name: "ipvlan", Builtin: builtin.Of, MayChain: true, TakesAddresses: true,
	Validate: validate, MTU: func(c Conf) int { return c.OnMaster.MTU }, Want: want, Ready: ready,
}

func validate(call *plugin.Call, c *Conf) error {
	if c.Master != "" {
		return nil
	}
	if call.Prev == nil {
		c.masterIsPrev = call.IPAM == ""
		return nil
	}
	if c.masterIsPrev = slices.ContainsFunc(call.Prev.Interfaces, call.Own); c.masterIsPrev {
		return nil
	}
	if len(call.Prev.Interfaces) != 1 || call.Prev.Interfaces[0].Name == "" {
		return errors.New("master is not given, and the plugins before did not make one interface that it could be: name it")
	}
	c.Master = call.Prev.Interfaces[0].Name
	c.InPod = c.InPod || call.Prev.Interfaces[0].Sandbox != ""
	return nil
}

// ready cannot know the master that a plugin before this one will have made.
func ready(k *kernel.Kernel, c Conf) error {
	if c.masterIsPrev {
		return k.HasKind("ipvlan")
	}
	return c.OnMaster.Ready(k, "ipvlan")
}

// want lists what holds while a pod is attached.
func want(call plugin.Call, c Conf) fact.Plan {
	upper := c.Upper(call)
	upper.Unknown = c.masterIsPrev
	p := fact.Plan{link.Ipvlan{Upper: upper, Mode: c.Mode}}
	pod := c.Interface(call)
	pod.Quiet = c.Mode != "l2" // layer 3 knows no neighbours to tell
	return append(p, pod.Facts(call)...)
}
