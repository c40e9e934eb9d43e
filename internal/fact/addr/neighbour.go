package addr

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/netlink"
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
	c, err := k.Conn(kernel.Host)
	if err != nil {
		return err
	}
	body := make([]byte, unix.SizeofNdMsg)
	body[0] = family(n.Addr)
	binary.NativeEndian.PutUint32(body[4:], uint32(l.Index))
	binary.NativeEndian.PutUint16(body[8:], unix.NUD_STALE)
	attrs := netlink.Join(netlink.Bytes(unix.NDA_DST, n.Addr.AsSlice()), netlink.Bytes(unix.NDA_LLADDR, n.MAC))
	_, err = c.Request(netlink.Message{Type: unix.RTM_NEWNEIGH, Flags: unix.NLM_F_CREATE | unix.NLM_F_REPLACE, Body: append(body, attrs...)})
	return err
}

// Del does nothing: see Neighbour.
func (n Neighbour) Del(*kernel.Kernel) error { return nil }

// Check has nothing to hold against: the kernel may have forgotten it, or know
// better, when a later plugin changed the pod's hardware address.
func (n Neighbour) Check(*kernel.Kernel) error { return nil }
