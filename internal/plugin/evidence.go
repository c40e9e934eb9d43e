package plugin

import (
	"net"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact/link"
)

// evidence is what DEL tells the attachment's links by. Before version 0.4.0 the
// runtime hands over no result, and libcni has kept one all the same.
func (at At) evidence(r *cni.Request) link.Evidence {
	return link.Evidence{Owner: at.Attachment, Result: func() link.Reported {
		result := at.Prev
		if result == nil {
			result, _ = cni.ParseResult("", cni.KeptOf(at.Attachment).Result, r.Conf.CNIVersion)
		}
		return at.reported(result)
	}}
}

// reported is what a result says of the attachment's links.
func (at At) reported(r *cni.Result) (said link.Reported) {
	if r == nil {
		return said
	}
	said.Host = map[string]string{}
	own := cni.InterfaceOf(r, at.IfName, at.Netns)
	if own != nil {
		said.MAC, _ = net.ParseMAC(own.Mac)
	}
	for _, i := range r.Interfaces {
		if i != own && i.Sandbox == "" {
			said.Host[i.Name] = i.Mac
		}
	}
	for _, ip := range cni.IPsOf(r, at.IfName, at.Netns) {
		said.Addrs = append(said.Addrs, cni.Prefix(ip.Address))
	}
	return said
}
