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
	Members
	pod netip.Addr
}

// NewLocalnet is Localnet of the link towards a pod's address, if it has one.
func NewLocalnet(owner name.Attachment, pod netip.Addr) Localnet {
	return Localnet{Members{Owner: owner, Kind: KindLocalnet, table: inet}, pod}
}

func (l Localnet) String() string {
	return fmt.Sprintf("nft  %s guard of the link towards %v", KindLocalnet, l.pod)
}

// Idle says that nothing is asked for.
func (l Localnet) Idle() bool { return !l.pod.IsValid() }

func (l Localnet) members(k *kernel.Kernel) (Members, error) {
	if l.Idle() {
		return l.Members, nil
	}
	link, err := route.HostLink(k, l.pod)
	switch {
	case err != nil:
		return l.Members, err
	case link == "":
		fmt.Fprintf(os.Stderr, "127.0.0.1 leads to no host port of %v: the host has no route to it\n", l.pod)
		return l.Members, nil
	}
	e := element("localnet", wire.IfName(link), "%q", link)
	e.Shared = link != l.Owner.HostLink()
	l.Elements = []Element{e}
	return l.Members, nil
}

// Add guards the link.
func (l Localnet) Add(k *kernel.Kernel) error {
	m, err := l.members(k)
	if err != nil {
		return err
	}
	return m.Add(k)
}

// Check looks whether the link is guarded.
func (l Localnet) Check(k *kernel.Kernel) error {
	m, err := l.members(k)
	if err != nil {
		return err
	}
	return m.Check(k)
}
