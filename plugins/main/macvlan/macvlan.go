package main

import (
	"net"

	"github.com/catena-cni/catena/internal/link"
	"github.com/catena-cni/catena/internal/plan"
	"github.com/catena-cni/catena/internal/plugin"
)

// Conf is macvlan's own part of the network configuration.
type Conf struct {
	plugin.OnMaster
	Mode          string        `json:"mode" enum:"bridge,private,vepa,passthru" default:"bridge" doc:"which of the master's macvlans reach one another"`
	MAC           string        `json:"mac" doc:"hardware address of the pod's link"`
	QueueLength   uint32        `json:"bcqueuelen" doc:"length of the queue of broadcasts; 0 takes the kernel's"`
	RuntimeConfig RuntimeConfig `json:"runtimeConfig" lint:"-" doc:"values of the capabilities; the runtime adds it"`
	CNIArgs       Args          `json:"args" lint:"-" doc:"optional arguments"`

	mac net.HardwareAddr
}

// RuntimeConfig is the values of the capabilities that macvlan looks at.
type RuntimeConfig struct {
	MAC string `json:"mac" doc:"capability mac: the hardware address"`
}

// Args are the optional arguments that macvlan looks at.
type Args struct {
	CNI struct {
		MAC string `json:"mac" doc:"the hardware address"`
	} `json:"cni"`
}

var macvlan = plugin.Plugin[Conf]{
	Name: "macvlan", Args: []string{"MAC", "IP", "GATEWAY"}, Behind: true,
	Validate: validate, Complete: complete, Want: want, Ready: plugin.MasterReady[Conf],
}

func validate(at *plugin.At, c *Conf) (err error) {
	if c.Mode == "" {
		c.Mode = "bridge"
	}
	c.mac, err = plugin.FirstMAC(c.RuntimeConfig.MAC, c.CNIArgs.CNI.MAC, at.Args["MAC"], c.MAC)
	if c.mac == nil && c.Mode != "passthru" { // there it is the master's own
		c.mac = at.MAC("pod")
	}
	return err
}

func complete(at plugin.At, _ Conf) error { return at.AddInterface() }

// want lists what holds while a pod is attached.
func want(at plugin.At, c Conf) plan.Plan {
	upper := c.Upper(at)
	upper.MAC = c.mac
	p := plan.Plan{link.Macvlan{Upper: upper, Mode: c.Mode, QueueLength: c.QueueLength}}
	return append(p, c.Interface(at).Facts(at)...)
}
