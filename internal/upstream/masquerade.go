package upstream

import (
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/iptables"
	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/firewall/othertables"
	"github.com/catena-cni/catena/internal/state/name"
)

// Masquerade is the masquerading of a pod by upstream's bridge or ptp: rules of
// the table inet cni_plugins_masquerade or, for Holds, of iptables.
type Masquerade struct {
	Owner name.Attachment
	Pods  []netip.Prefix
}

// masquerading has a rule for each address of a pod in masq_checks. Its comment
// begins with hashes of the network, the interface and the container.
var masquerading = chains{
	table: wire.Table{Family: unix.NFPROTO_INET, Name: "cni_plugins_masquerade"},
	names: []string{"masq_checks"}, static: []string{"postrouting"},
}

// Holds looks for a rule for each address.
func (m Masquerade) Holds() (bool, error) {
	if there, err := iptables.Masquerades(m.Owner, m.Pods); err != nil || there {
		return there, err
	}
	var wanted []func(othertables.Rule) bool
	for _, p := range m.Pods {
		wanted = append(wanted, func(r othertables.Rule) bool { return m.mine(r) && r.Names(p.Addr().AsSlice()) })
	}
	return masquerading.have(wanted...)
}

func (m Masquerade) mine(r othertables.Rule) bool {
	return strings.HasPrefix(r.Comment, m.Owner.UpstreamInstance())
}

// Remove takes the attachment's rules of nftables away.
func (m Masquerade) Remove() error { return masquerading.remove(m.mine) }

// CollectMasquerade is GC for them.
func CollectMasquerade(network string, valid []name.Attachment) error {
	var alive []string
	for _, at := range valid {
		alive = append(alive, at.UpstreamInstance())
	}
	return masquerading.remove(func(r othertables.Rule) bool {
		return strings.HasPrefix(r.Comment, name.UpstreamNetwork(network)) &&
			!slices.ContainsFunc(alive, func(instance string) bool { return strings.HasPrefix(r.Comment, instance) })
	})
}

// Forward is what lets a pod through by upstream's firewall: rules of iptables.
// The Del of iptables.Forward takes them away, which knows whose else they are.
type Forward struct{ Addrs []netip.Addr }

// Holds looks for the rules of each address.
func (f Forward) Holds() (bool, error) { return iptables.Forwards(f.Addrs) }

// Remove does nothing: see Forward.
func (f Forward) Remove() error { return nil }
