package nft

import (
	"fmt"
	"net/netip"

	"github.com/catena-cni/catena/internal/state/name"
)

// Kinds of members.
const (
	KindMasquerade = "masquerade"
	KindGuard      = "guard"
	KindPorts      = "ports"
	KindLocalnet   = "localnet"
)

// Masquerade is addresses of a pod whose traffic leaves the host under the
// host's own address: not that to their own subnet, nor to multicast groups.
func Masquerade(owner name.Attachment, pods []netip.Prefix) Members {
	m := Members{Owner: owner, Kind: KindMasquerade, table: inet}
	for _, p := range pods {
		a := p.Addr()
		m.Elements = append(m.Elements, Element{Set: "masq" + version(a), Key: a.AsSlice(), Text: a.String()})
	}
	for _, p := range pods {
		if !p.IsSingleIP() { // a pod's traffic to itself does not leave it
			m.Elements = append(m.Elements, same(p))
		}
	}
	return m
}

// same is a subnet inside which nothing is masqueraded.
func same(p netip.Prefix) Element {
	subnet := p.Masked()
	first, end := subnet.Addr().AsSlice(), last(subnet)
	return Element{
		Set: "same" + version(subnet.Addr()), Shared: true,
		Key: fields(first, first), End: fields(end, end), Text: fmt.Sprintf("%v . %v", subnet, subnet),
	}
}
