package link

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/addr"
	"github.com/catena-cni/catena/internal/fact/sysctl"
	"github.com/catena-cni/catena/internal/kernel"
)

// Bridge is a bridge of the host. It is shared: Del leaves it.
type Bridge struct {
	fact.Stays
	Name string
	// MTU in bytes, or AutoMTU; 0 takes the kernel's default, or what the bridge has.
	MTU int
	// VLANFiltering is turned on where it is set, and never off: other
	// networks may stand on it.
	VLANFiltering bool
	// Reported is the hardware address that a pod's result says it has, which its
	// neighbours know it by; nil for none.
	Reported net.HardwareAddr
	// Promisc sets or clears the bridge's promiscuous mode; nil leaves it.
	Promisc *bool
}

func (b Bridge) String() string {
	s := fact.Text("link host bridge", b.Name, mtuText(b.MTU), fact.Word("vlan_filtering", b.VLANFiltering))
	if b.Promisc != nil {
		s += fmt.Sprintf(" promisc=%t", *b.Promisc)
	}
	return s
}

// Add makes the bridge or makes the one that is there as it is wanted.
func (b Bridge) Add(k *kernel.Kernel) (err error) {
	if b.MTU, err = mtu(k, b.MTU); err != nil {
		return err
	}
	l, err := find(k, kernel.Host, b.Name, "bridge")
	if errors.Is(err, fs.ErrNotExist) {
		l, err = b.create(k)
	}
	if err != nil {
		return err
	}
	return b.reconcile(k, l)
}

// create makes the bridge with an address of its own: one that it takes from
// its ports changes as pods come and go, and breaks every neighbour's cache.
func (b Bridge) create(k *kernel.Kernel) (*kernel.Link, error) {
	wanted := &netlink.Bridge{LinkAttrs: newAttrs(b.Name, b.MTU, randomMAC())}
	if b.VLANFiltering {
		wanted.VlanFiltering = &b.VLANFiltering
	}
	err := k.Create(kernel.Host, wanted)
	if errors.Is(err, unix.EOPNOTSUPP) && b.VLANFiltering {
		err = errors.Join(err, noVLANs(k))
	}
	// Where another pod's ADD was first, its bridge is as good.
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return find(k, kernel.Host, b.Name, "bridge")
}

// reconcile changes what differs, and brings the bridge up.
func (b Bridge) reconcile(k *kernel.Kernel, l *kernel.Link) error {
	var flags, change uint32
	var attrs []*nl.RtAttr
	if b.MTU != 0 && l.MTU != b.MTU {
		if err := b.leavesIPv6(k, l); err != nil {
			return err
		}
		attrs = append(attrs, kernel.MTU(b.MTU))
	}
	if drifts(k, l) {
		attrs = append(attrs, kernel.MAC(l.MAC))
	}
	if b.Promisc != nil && *b.Promisc != promiscuous(l) {
		change |= unix.IFF_PROMISC
		if *b.Promisc {
			flags |= unix.IFF_PROMISC
		}
	}
	if !l.Up() {
		flags, change = flags|unix.IFF_UP, change|unix.IFF_UP
		if err := sysctl.TowardsPods(b.Name).Add(k); err != nil {
			return err
		}
	}
	if b.VLANFiltering && !filters(l) {
		if err := b.filter(k, l); err != nil {
			return err
		}
	}
	if change == 0 && attrs == nil {
		return nil
	}
	return k.SetLink(kernel.Host, l, flags, change, attrs...)
}

// leavesIPv6 refuses an MTU with which the kernel would take the IPv6 addresses of
// other networks away.
func (b Bridge) leavesIPv6(k *kernel.Kernel, l *kernel.Link) error {
	if b.MTU >= addr.MTUMin6 || l.MTU < addr.MTUMin6 {
		return nil
	}
	have, err := addr.List(k, kernel.Host, l.Name)
	for _, p := range have {
		if p.Addr().Is6() && !p.Addr().IsLinkLocalUnicast() {
			return fmt.Errorf("it has %v, and IPv6 needs an mtu of %d or more (RFC 8200)", p, addr.MTUMin6)
		}
	}
	return err
}

// drifts reports whether the bridge takes its address from its ports, as one
// does that somebody made without giving it an address. Where sysfs cannot be
// asked, as by an engine without root, its ports are: it has the address of one
// of them, or may get the first one's.
func drifts(k *kernel.Kernel, bridge *kernel.Link) bool {
	const set = "3\n" // NET_ADDR_SET of linux/netdevice.h
	root, done, err := kernel.Sysfs(bridge)
	if err != nil {
		ports, err := k.Ports(kernel.Host, bridge)
		return err == nil && (len(ports) == 0 || slices.ContainsFunc(ports, func(p *kernel.Link) bool { return bytes.Equal(p.MAC, bridge.MAC) }))
	}
	defer done()
	how, err := os.ReadFile(root + "/class/net/" + bridge.Name + "/addr_assign_type")
	return err == nil && string(how) != set
}

// Ports counts a bridge's ports.
func Ports(k *kernel.Kernel, bridge string) (int, error) {
	l, err := k.Link(kernel.Host, bridge)
	if err != nil {
		return 0, kernel.Gone(err)
	}
	ports, err := k.Ports(kernel.Host, l)
	return len(ports), err
}

// filter turns VLAN filtering on. A kernel without it may take the message and
// do nothing, so the bridge is looked at again.
func (b Bridge) filter(k *kernel.Kernel, l *kernel.Link) error {
	if !canFilter(l) {
		return errNoVLANFiltering
	}
	on := &netlink.Bridge{LinkAttrs: newAttrs(b.Name, 0, nil), VlanFiltering: &b.VLANFiltering}
	on.Index = l.Index
	err := k.Call(kernel.Host, func(h *netlink.Handle) error { return h.LinkModify(on) })
	if err == nil {
		l, err = k.LinkAt(kernel.Host, l.Index)
	}
	if err != nil {
		return fmt.Errorf("turn VLAN filtering on: %w", err)
	}
	if !filters(l) {
		return errNoVLANFiltering
	}
	return nil
}

var errNoVLANFiltering = errors.New("this kernel's bridges do not filter VLANs: it needs CONFIG_BRIDGE_VLAN_FILTERING")

// canFilter reports whether the kernel's bridges can tell VLANs apart: one of
// those has a default VLAN.
func canFilter(l *kernel.Link) bool {
	bridge, is := l.Typed.(*netlink.Bridge)
	return is && bridge.VlanDefaultPVID != nil
}

func filters(l *kernel.Link) bool {
	bridge, is := l.Typed.(*netlink.Bridge)
	return is && bridge.VlanFiltering != nil && *bridge.VlanFiltering
}

// promiscuous is what an administrator asked for, not what sniffers do.
func promiscuous(l *kernel.Link) bool { return l.Flags&unix.IFF_PROMISC != 0 }

func (b Bridge) Check(k *kernel.Kernel) (err error) {
	if b.MTU, err = mtu(k, b.MTU); err != nil {
		return err
	}
	l, err := find(k, kernel.Host, b.Name, "bridge")
	switch {
	case err != nil:
		return err
	case !l.Up():
		return errors.New("it is down")
	case b.MTU != 0 && l.MTU != b.MTU:
		return fmt.Errorf("its mtu is %d", l.MTU)
	case b.Reported != nil && !bytes.Equal(l.MAC, b.Reported):
		return fmt.Errorf("its hardware address is %v, and the result says %v", l.MAC, b.Reported)
	case b.VLANFiltering && !filters(l):
		return errors.New("it does not filter VLANs: the pods on it are not isolated")
	case b.Promisc != nil && *b.Promisc && !promiscuous(l):
		return errors.New("it is not promiscuous")
	}
	return nil
}

// Usable looks whether Add could succeed now: a link of that name, if there is
// one, is a bridge, and the kernel has what it takes.
func (b Bridge) Usable(k *kernel.Kernel) error {
	l, err := find(k, kernel.Host, b.Name, "bridge")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = k.HasKind("bridge")
		if err == nil && b.VLANFiltering {
			err = noVLANs(k)
		}
	case err == nil && b.VLANFiltering && !canFilter(l):
		err = errNoVLANFiltering
	}
	return err
}
