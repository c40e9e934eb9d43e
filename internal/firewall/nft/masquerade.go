package nft

import (
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/catena-cni/catena/internal/fact/route"
	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// version is the digit that the names of sets for an address end in.
func version(a netip.Addr) string {
	if a.Is6() {
		return "6"
	}
	return "4"
}

// Masquerade is addresses of a pod whose traffic leaves the host under the
// host's own address: not that to their own subnet, nor to multicast groups.
func Masquerade(owner name.Attachment, pods []netip.Prefix) Members {
	m := Members{Owner: owner, Kind: KindMasquerade, table: inet}
	for _, p := range pods {
		a := p.Addr()
		m.Elements = append(m.Elements, element("masq"+version(a), a.AsSlice(), "%v", a))
	}
	for _, p := range pods {
		if p.IsSingleIP() { // a pod's traffic to itself does not leave it
			continue
		}
		subnet := p.Masked().Addr()
		set := fmt.Sprintf("samesubnet%s_%d", version(subnet), p.Bits())
		e := element(set, slices.Concat(subnet.AsSlice(), subnet.AsSlice()), "%v . %v", subnet, subnet)
		e.Shared = true
		m.Elements = append(m.Elements, e)
	}
	return m
}

// Localnet drops what comes from 127.0.0.0/8, or goes there, on the host's link
// towards a pod: with route_localnet the pod would reach what the host keeps to
// itself (see route.Localnet). The link is found when the fact is made true.
// That of others, such as a bridge, keeps its guard; the attachment's own loses
// it with the attachment.
type Localnet struct {
	Owner name.Attachment
	Pod   netip.Addr
}

func (l Localnet) String() string {
	return fmt.Sprintf("nft  %s guard of the link towards %v", KindLocalnet, l.Pod)
}

// Idle says that nothing is asked for.
func (l Localnet) Idle() bool { return !l.Pod.IsValid() }

func (l Localnet) members(k *kernel.Kernel) Members {
	m := Members{Owner: l.Owner, Kind: KindLocalnet, table: inet}
	if l.Idle() {
		return m
	}
	out, err := route.Lookup(k, kernel.Host, l.Pod)
	if err != nil {
		fmt.Fprintf(os.Stderr, "127.0.0.1 leads to no host port of %v: %v\n", l.Pod, err)
		return m
	}
	e := element("localnet", wire.IfName(out.Link), "%q", out.Link)
	e.Shared = out.Link != l.Owner.HostLink()
	m.Elements = []Element{e}
	return m
}

// Made reports whether the attachment has a guard.
func (l Localnet) Made(k *kernel.Kernel) (bool, error) {
	return Members{Owner: l.Owner, Kind: KindLocalnet}.Made(k)
}

// Add guards the link.
func (l Localnet) Add(k *kernel.Kernel) error { return l.members(k).Add(k) }

// Del takes the guard of the attachment's own link away.
func (l Localnet) Del(k *kernel.Kernel) error {
	return Members{Owner: l.Owner, Kind: KindLocalnet}.Del(k)
}

// Check looks whether the link is guarded.
func (l Localnet) Check(k *kernel.Kernel) error { return l.members(k).Check(k) }
