package main

import (
	"errors"
	"fmt"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/addr"
	"github.com/catena-cni/catena/internal/fact/link"
	"github.com/catena-cni/catena/internal/fact/route"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/plugin"
)

// Conf is vrf's own part of the network configuration.
type Conf struct {
	VRFName     string `json:"vrfname" doc:"name of the VRF's device in the pod; the first interface in it makes it, and the last takes it away"`
	Table       uint32 `json:"table" min:"0" max:"4294967295" doc:"its routing table; 0 takes the one that it has, or the first that nothing in the pod uses"`
	FallThrough bool   `json:"fallThrough" doc:"look in the main table for what the VRF has no route to, as upstream's does; of the first interface's configuration"`
}

// vrf has nothing on the host, and what it has in the pod ends with the pod's
// namespace: GC finds nothing.
var vrf = plugin.Plugin[Conf]{
	Name: "vrf", Chained: true, Validate: validate, Want: want,
	Ready: func(k *kernel.Kernel, _ Conf) error { return k.HasKind("vrf") },
}

func validate(call *plugin.Call, c *Conf) error {
	switch {
	case c.VRFName == "":
		return errors.New("vrfname is missing: it is the name of the VRF's device in the pod")
	case c.VRFName == call.IfName:
		return fmt.Errorf("vrfname is %s, which is the interface's own name", c.VRFName)
	case 253 <= c.Table && c.Table <= 255:
		return fmt.Errorf("table is %d, and 253 to 255 are every namespace's own: default, main and local", c.Table)
	}
	return cni.CheckLinkName("vrfname", c.VRFName)
}

// want lists what holds while the interface is in its VRF.
func want(call plugin.Call, c Conf) fact.Plan {
	return fact.Plan{
		link.VRF{Name: c.VRFName, Link: call.IfName, Owner: call.Attachment, Table: int(c.Table), FallThrough: c.FallThrough, Routes: route.OfResult(call.IfName, call.Result.Routes, call.IPs())},
		addr.Settled{Link: call.IfName, Addrs: call.IPv6()},
	}
}
