package plugin

import (
	"net/netip"

	"github.com/catena-cni/catena/internal/cni"
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

// IPs are the result's addresses that belong to the pod's interface.
func (call Call) IPs() []*cni.IPConfig { return cni.IPsOf(call.Result, call.IfName, call.Netns) }

// NoAddress says what the result has where IPs are none.
func (call Call) NoAddress() string {
	if len(call.Result.IPs) == 0 {
		return "no address of " + call.IfName
	}
	return "no address of " + call.IfName + " but those of other interfaces"
}

// Interface is the pod's interface in the result, nil where that has none.
func (call Call) Interface() *cni.Interface {
	return cni.InterfaceOf(call.Result, call.IfName, call.Netns)
}

// Prefixes are the pod's addresses.
func (call Call) Prefixes() (out []netip.Prefix) {
	for _, ip := range call.IPs() {
		out = append(out, cni.Prefix(ip.Address))
	}
	return out
}

// IPv6 are those of them that are of IPv6.
func (call Call) IPv6() (out []netip.Addr) {
	for _, p := range call.Prefixes() {
		if p.Addr().Is6() {
			out = append(out, p.Addr())
		}
	}
	return out
}

// Own reports whether an interface of a result is the attachment's, in the pod.
func (call Call) Own(i *cni.Interface) bool {
	return i != nil && i.Name == call.IfName && i.Sandbox != ""
}

// AddInterface puts the pod's interface behind those of the result, and gives it
// the addresses that IPAM gave. An interface that takes over the addresses of
// others stands in their place.
func (call Call) AddInterface() {
	r := call.Result
	behind := call.Prev != nil && call.Result == call.Prev
	if behind && call.takesAddresses {
		r.Interfaces = nil
	}
	index := len(r.Interfaces)
	r.Interfaces = append(r.Interfaces, &cni.Interface{Name: call.IfName, Sandbox: call.Netns})
	if behind && !call.takesAddresses {
		return // they are the previous interfaces'
	}
	for _, ip := range r.IPs {
		ip.Interface = &index
	}
}
