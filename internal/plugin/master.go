package plugin

import (
	"fmt"
	"net/netip"

	"github.com/catena-cni/catena/internal/addr"
	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/link"
)

// OnMaster is the part of the configuration that plugins have in common whose
// link lies on another.
type OnMaster struct {
	Master string `json:"master" doc:"the link below; where it is not given, that of the default route"`
	InPod  bool   `json:"linkInContainer" doc:"the master is in the pod's namespace, not on the host"`
	MTU    int    `json:"mtu" min:"0" max:"65535" doc:"MTU in bytes, at most the master's; 0 takes the master's"`
	DAD    string `json:"dad" enum:"wait,optimistic,off" default:"wait" doc:"whether duplicates of the pod's IPv6 addresses are looked for before they are used, meanwhile, or not"`
}

// Upper is the link that the configuration asks for, less what its kind adds.
func (o OnMaster) Upper(at At) link.Upper {
	return link.Upper{Link: at.IfName, Master: o.Master, InPod: o.InPod, MTU: o.MTU}
}

// Interface is the link as it is to be configured. Others share its segment, so
// by default their addresses count.
func (o OnMaster) Interface(at At) Interface {
	return Interface{Name: at.IfName, Detect: Detection(o.DAD)}
}

// Detection is the addr package's word for the value of a key dad.
func Detection(dad string) addr.Detection {
	switch dad {
	case "off":
		return addr.Off
	case "optimistic":
		return addr.Optimistic
	}
	return addr.Wait
}

// master is what configurations with an OnMaster promote.
func (o OnMaster) master() OnMaster { return o }

// MasterReady is Ready for them: the master is there. One in a pod cannot be
// looked at without the pod.
func MasterReady[C interface{ master() OnMaster }](k *kernel.Kernel, c C) error {
	o := c.master()
	if o.InPod {
		return nil
	}
	l, err := o.Upper(At{}).Below(k)
	if err == nil && !l.Up() {
		err = fmt.Errorf("master %s is down", l.Name)
	}
	return err
}

// Prefixes are the pod's addresses.
func (at At) Prefixes() (out []netip.Prefix) {
	for _, ip := range cni.IPsOf(at.Result, at.IfName) {
		out = append(out, cni.Prefix(ip.Address))
	}
	return out
}

// AddInterface puts the pod's interface behind those of the result, and gives it
// the addresses that IPAM gave, or that it takes over.
func (at At) AddInterface() error {
	r := at.Result
	index := len(r.Interfaces)
	r.Interfaces = append(r.Interfaces, &cni.Interface{Name: at.IfName, Sandbox: at.Netns})
	if at.Prev != nil && at.Result == at.Prev && !at.takesAddresses {
		return nil // they are the previous interfaces'
	}
	for _, ip := range r.IPs {
		ip.Interface = &index
	}
	return nil
}
