package link

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"

	"github.com/vishvananda/netlink"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/sysctl"
)

// Bridge is a bridge of the host. It is shared: Del leaves it.
type Bridge struct {
	Name string
	// MTU in bytes; 0 takes the kernel's default, or what the bridge has.
	MTU int
	// VLANFiltering is turned on where it is set, and never off: other
	// networks may stand on it.
	VLANFiltering bool
	// Promisc sets or clears the bridge's promiscuous mode; nil leaves it.
	Promisc *bool
}

func (b Bridge) String() string {
	s := "link host bridge " + b.Name
	if b.MTU != 0 {
		s += fmt.Sprintf(" mtu %d", b.MTU)
	}
	if b.VLANFiltering {
		s += " vlan_filtering"
	}
	if b.Promisc != nil {
		s += fmt.Sprintf(" promisc=%t", *b.Promisc)
	}
	return s
}

// Add makes the bridge or makes the one that is there as it is wanted.
func (b Bridge) Add(k *kernel.Kernel) error {
	l, err := k.Link(kernel.Host, b.Name)
	if errors.Is(err, fs.ErrNotExist) {
		l, err = b.make(k)
	}
	if err != nil {
		return err
	}
	if err := isKind(l, "bridge"); err != nil {
		return err
	}
	return b.reconcile(k, l)
}

// make creates the bridge with an address of its own: one that it takes from
// its ports changes as pods come and go, and breaks every neighbour's cache.
func (b Bridge) make(k *kernel.Kernel) (netlink.Link, error) {
	h, err := k.NL(kernel.Host)
	if err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = b.Name, b.MTU, randomMAC()
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	if b.VLANFiltering {
		bridge.VlanFiltering = &b.VLANFiltering
	}
	// Where another pod's ADD was first, its bridge is as good.
	if err := h.LinkAdd(bridge); err != nil && !errors.Is(err, fs.ErrExist) {
		if b.VLANFiltering {
			return nil, noVLANFiltering(err)
		}
		return nil, kernel.Cause(err)
	}
	return k.Link(kernel.Host, b.Name)
}

func randomMAC() net.HardwareAddr {
	m := make(net.HardwareAddr, 6)
	_, _ = rand.Read(m) // it never fails: crypto/rand's documentation
	m[0] = m[0]&^0x01 | 0x02
	return m
}

func noVLANFiltering(err error) error {
	return fmt.Errorf("turn VLAN filtering on (the kernel needs CONFIG_BRIDGE_VLAN_FILTERING): %w", err)
}

// reconcile changes what differs and, last, brings the bridge up.
func (b Bridge) reconcile(k *kernel.Kernel, l netlink.Link) error {
	h, err := k.NL(kernel.Host)
	if err != nil {
		return err
	}
	attrs := l.Attrs()
	var changed bool
	set := func(wanted bool, change func() error) {
		if err == nil && wanted {
			changed, err = true, change()
		}
	}
	set(b.MTU != 0 && attrs.MTU != b.MTU, func() error { return h.LinkSetMTU(l, b.MTU) })
	set(b.VLANFiltering && !filters(l), func() error { return noFilteringCause(h.BridgeSetVlanFiltering(l, true)) })
	set(b.Promisc != nil && *b.Promisc != promiscuous(attrs), func() error { return setPromisc(h, l, *b.Promisc) })
	set(attrs.Flags&net.FlagUp == 0, func() error {
		if err := sysctl.RefuseRouterAdvertisements(b.Name).Add(k); err != nil {
			return err
		}
		return h.LinkSetUp(l)
	})
	if changed {
		k.Forget(kernel.Host, b.Name)
	}
	return err
}

func noFilteringCause(err error) error {
	if err == nil {
		return nil
	}
	return noVLANFiltering(err)
}

func filters(l netlink.Link) bool {
	b, ok := l.(*netlink.Bridge)
	return ok && b.VlanFiltering != nil && *b.VlanFiltering
}

// promiscuous is what an administrator asked for: the kernel's own counter
// (attrs.Promisc) counts sniffers too.
func promiscuous(attrs *netlink.LinkAttrs) bool { return attrs.RawFlags&uint32(flagPromisc) != 0 }

func setPromisc(h *netlink.Handle, l netlink.Link, on bool) error {
	if on {
		return h.SetPromiscOn(l)
	}
	return h.SetPromiscOff(l)
}

// Del leaves the bridge to the other pods.
func (b Bridge) Del(*kernel.Kernel) error { return nil }

// Check looks whether the bridge is as it is wanted.
func (b Bridge) Check(k *kernel.Kernel) error {
	l, err := k.Link(kernel.Host, b.Name)
	if err != nil {
		return err
	}
	if err := isKind(l, "bridge"); err != nil {
		return err
	}
	attrs := l.Attrs()
	switch {
	case attrs.Flags&net.FlagUp == 0:
		return errors.New("it is down")
	case b.MTU != 0 && attrs.MTU != b.MTU:
		return fmt.Errorf("its mtu is %d", attrs.MTU)
	case b.VLANFiltering && !filters(l):
		return errors.New("it does not filter VLANs: the pods on it are not isolated")
	case b.Promisc != nil && *b.Promisc && !promiscuous(attrs):
		return errors.New("it is not promiscuous")
	}
	return nil
}
