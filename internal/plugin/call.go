package plugin

import (
	"net"
	"net/netip"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact/link"
	"github.com/catena-cni/catena/internal/state/name"
)

// Call is one call of a plugin: what its functions know of the attachment.
type Call struct {
	name.Attachment
	// Netns is the path of the pod's network namespace. It may be empty.
	Netns string
	// Result is what is known of the pod's network: IPAM's result, or that of
	// the plugins before this one, or on DEL and CHECK that of the whole chain.
	// Where there is none, it is empty.
	Result *cni.Result
	// Prev is the result of the plugins before this one, nil where there is none.
	Prev *cni.Result
	// Args are the pairs of CNI_ARGS.
	Args map[string]string
	// IPAM is the type of the plugin that addresses are delegated to, if any.
	IPAM string
	// NoNetdev says that the kernel has no link behind the result's interface, as
	// where a driver in user space has the device.
	NoNetdev bool

	takesAddresses bool
	// inherited is how many interfaces of the result are of plugins before.
	inherited int
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
func (call Call) Prefixes() []netip.Prefix { return cni.Prefixes(call.IPs()) }

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

// PodMAC is the hardware address that the result has for the pod's interface.
// A plugin later in the chain may have given it another than its own, or
// upstream's plugin any.
func (call Call) PodMAC(own net.HardwareAddr) net.HardwareAddr {
	if i := call.Interface(); i != nil {
		if m, err := FirstMAC(i.Mac); err == nil && m != nil {
			return m
		}
	}
	return own
}

// evidence is what DEL tells the attachment's links by. Before version 0.4.0 the
// runtime hands over no result, and libcni has kept one all the same.
func (call Call) evidence(r *cni.Request) link.Evidence {
	return link.Evidence{Owner: call.Attachment, Result: func() link.Reported {
		result := call.Prev
		if result == nil {
			result, _ = cni.ParseResult("", cni.KeptOf(call.Attachment).Result, r.Conf.CNIVersion)
		}
		return call.reported(result)
	}}
}

// reported is what a result says of the attachment's links.
func (call Call) reported(r *cni.Result) (said link.Reported) {
	if r == nil {
		return said
	}
	said.Host = map[string]string{}
	own := cni.InterfaceOf(r, call.IfName, call.Netns)
	if own != nil {
		said.MAC, _ = net.ParseMAC(own.Mac)
	}
	for _, i := range r.Interfaces {
		if i != own && i.Sandbox == "" {
			said.Host[i.Name] = i.Mac
		}
	}
	said.Addrs = cni.Prefixes(cni.IPsOf(r, call.IfName, call.Netns))
	return said
}
