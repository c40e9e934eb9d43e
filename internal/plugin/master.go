package plugin

import (
	"github.com/catena-cni/catena/internal/fact/addr"
	"github.com/catena-cni/catena/internal/fact/link"
	"github.com/catena-cni/catena/internal/kernel"
)

// OnMaster is the part of the configuration that plugins have in common whose
// link lies on another.
type OnMaster struct {
	Master string `json:"master" doc:"the link below; where it is not given, that of the default route. vlan wants it given; ipvlan behind another plugin takes that one's interface"`
	InPod  bool   `json:"linkInContainer" doc:"the master is in the pod's namespace, not on the host"`
	MTU    int    `json:"mtu" min:"0" max:"65535" doc:"MTU in bytes, at most the master's; 0 takes the master's"`
	DAD    string `json:"dad" enum:"wait,optimistic,off" default:"wait" doc:"look for duplicates of the pod's IPv6 addresses before they are used (wait), meanwhile (optimistic), or not (off)"`
}

// Upper is the link that the configuration asks for, less what its kind adds.
func (o OnMaster) Upper(call Call) link.Upper {
	return link.Upper{Link: call.IfName, Master: o.Master, InPod: o.InPod, MTU: o.MTU}
}

// Interface is the link as it is to be configured. Others share its segment, so
// by default their addresses count.
func (o OnMaster) Interface(call Call) Interface {
	return Interface{Name: call.IfName, Detect: Detection(o.DAD)}
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

// Ready looks whether a link of that kind could be made now. A master in a pod
// cannot be looked at without the pod.
func (o OnMaster) Ready(k *kernel.Kernel, kind string) error {
	err := k.HasKind(kind)
	if err != nil || o.InPod {
		return err
	}
	_, err = o.Upper(Call{}).Below(k)
	return err
}
