package link

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// Announce has the kernel tell everybody on the segment again behind which
// hardware address the pod's addresses are: by gratuitous ARP and unsolicited
// neighbour advertisements. It does so when a link comes up that is told to
// (arp_notify, ndisc_notify); but what a bridge's port sends at that moment is
// lost, as the port forwards only when both of its ends are up. A change of the
// hardware address has it done once more, even one to the same address.
//
// A socket for packets would do too, but closing one waits for every processor.
type Announce struct {
	fact.Stays
	Link string
}

func (a Announce) String() string { return fmt.Sprintf("tell pod %s's neighbours", a.Link) }

// Add sets the address that the link has. It is a courtesy: where the kernel
// does not do it the neighbours find out by themselves.
func (a Announce) Add(k *kernel.Kernel) error {
	l, err := k.Link(kernel.Pod, a.Link)
	if err != nil || len(l.MAC) != 6 {
		return err
	}
	err = k.Call(kernel.Pod, func(h *netlink.Handle) error { return h.LinkSetHardwareAddr(l.Typed, l.MAC) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EBUSY) {
		return nil
	}
	return err
}

func (a Announce) Check(*kernel.Kernel) error { return nil }
