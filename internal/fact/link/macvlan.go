package link

import (
	"fmt"

	"github.com/vishvananda/netlink"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// MacvlanModes are the modes by their names.
var MacvlanModes = map[string]netlink.MacvlanMode{
	"private": netlink.MACVLAN_MODE_PRIVATE, "vepa": netlink.MACVLAN_MODE_VEPA,
	"bridge": netlink.MACVLAN_MODE_BRIDGE, "passthru": netlink.MACVLAN_MODE_PASSTHRU,
}

// Macvlan is a link with a hardware address of its own on a master.
type Macvlan struct {
	Upper
	Mode string
	// QueueLength of broadcasts that wait to be copied, 0 for the kernel's.
	QueueLength uint32
}

func (m Macvlan) String() string {
	return fact.Text(m.text("macvlan"), "mode", m.Mode, fact.Word("bcqueuelen", m.QueueLength))
}

func (m Macvlan) Add(k *kernel.Kernel) error {
	return m.add(k, func(a netlink.LinkAttrs) netlink.Link {
		return &netlink.Macvlan{LinkAttrs: a, Mode: MacvlanModes[m.Mode], BCQueueLen: m.QueueLength}
	})
}

func (m Macvlan) Del(k *kernel.Kernel) error { return removeFromPod(k, m.Link, "macvlan") }

func (m Macvlan) Check(k *kernel.Kernel) error {
	l, err := m.check(k, "macvlan")
	if err != nil {
		return err
	}
	return isMode(MacvlanModes, m.Mode, l.Typed.(*netlink.Macvlan).Mode)
}

// isMode compares a link's mode with the one that is wanted.
func isMode[M comparable](modes map[string]M, wanted string, is M) error {
	if is == modes[wanted] {
		return nil
	}
	for name, mode := range modes {
		if mode == is {
			return fmt.Errorf("its mode is %s", name)
		}
	}
	return fmt.Errorf("its mode is number %v", is)
}

// IpvlanModes are the modes by their names.
var IpvlanModes = map[string]netlink.IPVlanMode{"l2": netlink.IPVLAN_MODE_L2, "l3": netlink.IPVLAN_MODE_L3, "l3s": netlink.IPVLAN_MODE_L3S}

// Ipvlan is a link that shares its master's hardware address.
type Ipvlan struct {
	Upper
	Mode string
}

func (i Ipvlan) String() string { return i.text("ipvlan") + " mode " + i.Mode }

func (i Ipvlan) Add(k *kernel.Kernel) error {
	return i.add(k, func(a netlink.LinkAttrs) netlink.Link {
		return &netlink.IPVlan{LinkAttrs: a, Mode: IpvlanModes[i.Mode]}
	})
}

func (i Ipvlan) Del(k *kernel.Kernel) error { return removeFromPod(k, i.Link, "ipvlan") }

func (i Ipvlan) Check(k *kernel.Kernel) error {
	l, err := i.check(k, "ipvlan")
	if err != nil {
		return err
	}
	return isMode(IpvlanModes, i.Mode, l.Typed.(*netlink.IPVlan).Mode)
}

// VLAN is a link for the frames of one VLAN (802.1Q) of its master.
type VLAN struct {
	Upper
	ID uint16
}

func (v VLAN) String() string { return v.text(fmt.Sprintf("vlan %d", v.ID)) }

func (v VLAN) Add(k *kernel.Kernel) error {
	if err := v.Usable(k); err != nil {
		return err
	}
	return v.add(k, func(a netlink.LinkAttrs) netlink.Link { return &netlink.Vlan{LinkAttrs: a, VlanId: int(v.ID)} })
}

// Usable looks whether the master is up: before that none of its VLANs can be.
func (v VLAN) Usable(k *kernel.Kernel) error {
	master, err := v.Below(k)
	if err == nil && !master.Up() {
		err = cni.Hint(fmt.Errorf("master %s is down, and no VLAN of it can be up", master.Name), "bring it up with: ip link set "+master.Name+" up")
	}
	return err
}

func (v VLAN) Del(k *kernel.Kernel) error { return removeFromPod(k, v.Link, "vlan") }

func (v VLAN) Check(k *kernel.Kernel) error {
	l, err := v.check(k, "vlan")
	if err != nil {
		return err
	}
	if id := l.Typed.(*netlink.Vlan).VlanId; id != int(v.ID) {
		return fmt.Errorf("its VLAN is %d", id)
	}
	return nil
}
