package plugin

import (
	"net"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact/link"
)

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
	for _, ip := range cni.IPsOf(r, call.IfName, call.Netns) {
		said.Addrs = append(said.Addrs, cni.Prefix(ip.Address))
	}
	return said
}
