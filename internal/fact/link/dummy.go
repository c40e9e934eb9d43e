package link

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"

	"github.com/catena-cni/catena/internal/kernel"
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
	return k.Create(kernel.Pod, &netlink.Dummy{LinkAttrs: newAttrs(d.Link, d.MTU, d.MAC)})
}

// Del removes it.
func (d Dummy) Del(k *kernel.Kernel) error { return removeFromPod(k, d.Link, "dummy") }

// Check looks at the link.
func (d Dummy) Check(k *kernel.Kernel) error {
	_, err := find(k, kernel.Pod, d.Link, "dummy")
	return err
}
