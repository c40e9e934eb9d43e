package addr

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/catena-cni/catena/internal/kernel"
)

// Neighbour is what the host knows of a pod's address: behind which hardware
// address it is. An address that another pod had before is so reachable at
// once, where the host would else ask for the old pod first. The kernel forgets
// it by itself when it is no longer true.
type Neighbour struct {
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

// Del does nothing: see Neighbour.
func (n Neighbour) Del(*kernel.Kernel) error { return nil }

// Check has nothing to hold against: the kernel may have forgotten it, or know
// better, when a later plugin changed the pod's hardware address.
func (n Neighbour) Check(*kernel.Kernel) error { return nil }
