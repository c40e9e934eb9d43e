package addr

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// Neighbour is the host's neighbour entry for a pod: its address and hardware
// address. With it, an address that another pod had before is reachable at once;
// without it, the host would ask for the old pod first. The kernel drops the
// entry when it is no longer true.
type Neighbour struct {
	fact.Stays
	Link string
	Addr netip.Addr
	MAC  net.HardwareAddr
}

func (n Neighbour) String() string { return fmt.Sprintf("neigh host %s %v %v", n.Link, n.Addr, n.MAC) }

// Add replaces what the host knew.
func (n Neighbour) Add(k *kernel.Kernel) error {
	l, err := k.Link(kernel.Host, n.Link)
	if err != nil {
		return err
	}
	neighbour := &netlink.Neigh{LinkIndex: l.Index, State: netlink.NUD_STALE, IP: n.Addr.AsSlice(), HardwareAddr: n.MAC}
	return k.Call(kernel.Host, func(h *netlink.Handle) error { return h.NeighSet(neighbour) })
}

// Check finds nothing wrong: the kernel may have dropped the entry, or have a
// newer one since a later plugin changed the pod's hardware address.
func (n Neighbour) Check(*kernel.Kernel) error { return nil }
