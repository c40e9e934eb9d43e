package link

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/netlink"
)

// Dummy is a link in the pod that leads nowhere.
type Dummy struct {
	Link string
	MTU  int
	MAC  net.HardwareAddr
}

func (d Dummy) String() string {
	return fmt.Sprintf("link pod %s dummy mac %v", d.Link, d.MAC) + mtuText(d.MTU)
}

// Add makes the link in the pod.
func (d Dummy) Add(k *kernel.Kernel) error {
	attrs := []netlink.Attr{netlink.Bytes(unix.IFLA_ADDRESS, d.MAC)}
	if d.MTU != 0 {
		attrs = append(attrs, netlink.U32(unix.IFLA_MTU, uint32(d.MTU)))
	}
	return k.CreateLink(kernel.Pod, d.Link, "dummy", nil, attrs...)
}

// Del removes it.
func (d Dummy) Del(k *kernel.Kernel) error { return removeFromPod(k, d.Link, "dummy") }

// Check looks at the link.
func (d Dummy) Check(k *kernel.Kernel) error {
	l, err := k.Link(kernel.Pod, d.Link)
	if err != nil {
		return err
	}
	return isKind(l, "dummy")
}
