package link

import (
	"encoding/binary"
	"fmt"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/netlink"
)

// Attributes of a macvlan (linux/if_link.h).
const (
	macvlanMode        = 1 // IFLA_MACVLAN_MODE
	macvlanQueueLength = 7 // IFLA_MACVLAN_BC_QUEUE_LEN
)

// MacvlanModes are the kernel's numbers of the modes (enum macvlan_mode).
var MacvlanModes = map[string]uint32{"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}

// Macvlan is a link with a hardware address of its own on a master.
type Macvlan struct {
	Upper
	Mode string
	// QueueLength of broadcasts that wait to be copied, 0 for the kernel's.
	QueueLength uint32
}

func (m Macvlan) String() string {
	s := m.text("macvlan") + " mode " + m.Mode
	if m.QueueLength != 0 {
		s += fmt.Sprintf(" bcqueuelen %d", m.QueueLength)
	}
	return s
}

// Add makes the link in the pod.
func (m Macvlan) Add(k *kernel.Kernel) error {
	info := []netlink.Attr{netlink.U32(macvlanMode, MacvlanModes[m.Mode])}
	if m.QueueLength != 0 {
		info = append(info, netlink.U32(macvlanQueueLength, m.QueueLength))
	}
	return m.add(k, "macvlan", info...)
}

// Del removes it.
func (m Macvlan) Del(k *kernel.Kernel) error { return removeFromPod(k, m.Link, "macvlan") }

// Check looks at the link, its master and its mode.
func (m Macvlan) Check(k *kernel.Kernel) error {
	l, err := m.check(k, "macvlan")
	if err != nil {
		return err
	}
	if mode := netlink.Uint32(netlink.Find(l.Info, macvlanMode)); mode != MacvlanModes[m.Mode] {
		return fmt.Errorf("its mode is number %d", mode)
	}
	return nil
}

// IpvlanModes are the kernel's numbers of the modes (enum ipvlan_mode).
var IpvlanModes = map[string]uint16{"l2": 0, "l3": 1, "l3s": 2}

const ipvlanMode = 1 // IFLA_IPVLAN_MODE

// Ipvlan is a link that shares its master's hardware address.
type Ipvlan struct {
	Upper
	Mode string
}

func (i Ipvlan) String() string { return i.text("ipvlan") + " mode " + i.Mode }

// Add makes the link in the pod.
func (i Ipvlan) Add(k *kernel.Kernel) error {
	return i.add(k, "ipvlan", netlink.U16(ipvlanMode, IpvlanModes[i.Mode]))
}

// Del removes it.
func (i Ipvlan) Del(k *kernel.Kernel) error { return removeFromPod(k, i.Link, "ipvlan") }

// Check looks at the link, its master and its mode.
func (i Ipvlan) Check(k *kernel.Kernel) error {
	l, err := i.check(k, "ipvlan")
	if err != nil {
		return err
	}
	mode := netlink.Find(l.Info, ipvlanMode)
	if len(mode) == 2 && binary.NativeEndian.Uint16(mode) != IpvlanModes[i.Mode] {
		return fmt.Errorf("its mode is number %d", binary.NativeEndian.Uint16(mode))
	}
	return nil
}

const vlanID = 1 // IFLA_VLAN_ID

// VLAN is a link for the frames of one VLAN (802.1Q) of its master.
type VLAN struct {
	Upper
	ID uint16
}

func (v VLAN) String() string { return v.text(fmt.Sprintf("vlan %d", v.ID)) }

// Add makes the link in the pod.
func (v VLAN) Add(k *kernel.Kernel) error {
	if err := v.Usable(k); err != nil {
		return err
	}
	return v.add(k, "vlan", netlink.U16(vlanID, v.ID))
}

// Usable looks whether the master is up: before that none of its VLANs can be.
func (v VLAN) Usable(k *kernel.Kernel) error {
	master, err := v.Below(k)
	if err == nil && !master.Up() {
		err = cni.Hint(fmt.Errorf("master %s is down, and no VLAN of it can be up", master.Name), "bring it up with: ip link set "+master.Name+" up")
	}
	return err
}

// Del removes it.
func (v VLAN) Del(k *kernel.Kernel) error { return removeFromPod(k, v.Link, "vlan") }

// Check looks at the link, its master and its VLAN.
func (v VLAN) Check(k *kernel.Kernel) error {
	l, err := v.check(k, "vlan")
	if err != nil {
		return err
	}
	if id := netlink.Find(l.Info, vlanID); len(id) == 2 && binary.NativeEndian.Uint16(id) != v.ID {
		return fmt.Errorf("its VLAN is %d", binary.NativeEndian.Uint16(id))
	}
	return nil
}
