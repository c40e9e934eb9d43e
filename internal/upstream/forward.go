package upstream

import (
	"net/netip"

	"github.com/catena-cni/catena/internal/firewall/iptables"
)

// Forward is what lets a pod through by upstream's firewall: rules of iptables.
// The Del of iptables.Forward takes them away, which knows whose else they are.
type Forward struct{ Addrs []netip.Addr }

// Holds looks for the rules of each address.
func (f Forward) Holds() (bool, error) { return iptables.Forwards(f.Addrs) }

// Remove does nothing: see Forward.
func (f Forward) Remove() error { return nil }
