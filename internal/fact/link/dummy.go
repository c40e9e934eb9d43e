package link

import (
	"net"

	"github.com/vishvananda/netlink"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// Dummy is a link in the pod that leads nowhere.
type Dummy struct {
	Link string
	MTU  int
	MAC  net.HardwareAddr
}

func (d Dummy) String() string {
	return fact.Text("link pod", d.Link, "dummy", fact.Word("mac", d.MAC), mtuText(d.MTU))
}

func (d Dummy) Add(k *kernel.Kernel) error {
	return k.Create(kernel.Pod, &netlink.Dummy{LinkAttrs: newAttrs(d.Link, d.MTU, d.MAC)})
}

func (d Dummy) Del(k *kernel.Kernel) error { return removeFromPod(k, d.Link, "dummy") }

func (d Dummy) Check(k *kernel.Kernel) error {
	_, err := find(k, kernel.Pod, d.Link, "dummy")
	return err
}
