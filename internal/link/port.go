package link

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"

	"github.com/catena-cni/catena/internal/kernel"
)

// Port is how a bridge treats one of its ports. It dies with the link.
type Port struct {
	Link     string
	Hairpin  bool // frames may leave by the port that they came in by
	Isolated bool // no frames to and from other isolated ports
}

func (p Port) String() string {
	return fmt.Sprintf("port host %s hairpin=%t isolated=%t", p.Link, p.Hairpin, p.Isolated)
}

// Add sets what differs from a new port, for which both are off.
func (p Port) Add(k *kernel.Kernel) error {
	h, err := k.NL(kernel.Host)
	if err != nil {
		return err
	}
	l, err := k.Link(kernel.Host, p.Link)
	if err != nil {
		return err
	}
	if p.Hairpin {
		err = errors.Join(err, h.LinkSetHairpin(l, true))
	}
	if p.Isolated {
		err = errors.Join(err, h.LinkSetIsolated(l, true))
	}
	return err
}

// Del does nothing: see Port.
func (p Port) Del(*kernel.Kernel) error { return nil }

// Check compares both settings.
func (p Port) Check(k *kernel.Kernel) error {
	l, err := k.Link(kernel.Host, p.Link)
	if err != nil {
		return err
	}
	h, err := k.NL(kernel.Host)
	if err != nil {
		return err
	}
	info, err := h.LinkGetProtinfo(l)
	switch {
	case err != nil:
		return err
	case info.Hairpin != p.Hairpin:
		return fmt.Errorf("hairpin is %t", info.Hairpin)
	case info.Isolated != p.Isolated:
		return fmt.Errorf("isolated is %t", info.Isolated)
	}
	return nil
}

// VLANRange is the VLAN ids from First to Last, both included.
type VLANRange struct{ First, Last uint16 }

func (r VLANRange) String() string {
	if r.First == r.Last {
		return fmt.Sprint(r.First)
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// VLANs are the VLANs of a bridge port. They die with the link.
type VLANs struct {
	Link string
	// Access is the VLAN of untagged frames; 0 leaves that to the bridge.
	Access uint16
	// Trunk lists the VLANs of tagged frames, in order and without overlap.
	Trunk []VLANRange
	// KeepDefault leaves the port in the bridge's default VLAN too.
	KeepDefault bool
	// Bridge is the bridge that the link is a port of.
	Bridge string
}

func (v VLANs) String() string {
	words := []string{"vlan host", v.Link}
	if v.Access != 0 {
		words = append(words, fmt.Sprintf("access %d", v.Access))
	}
	for _, r := range v.Trunk {
		words = append(words, "trunk "+r.String())
	}
	if v.KeepDefault {
		words = append(words, "and the default")
	}
	return strings.Join(words, " ")
}

// Add takes the port out of the default VLAN and into its own.
func (v VLANs) Add(k *kernel.Kernel) error {
	h, err := k.NL(kernel.Host)
	if err != nil {
		return err
	}
	l, err := k.Link(kernel.Host, v.Link)
	if err != nil {
		return err
	}
	byDefault, err := v.byDefault(k)
	if err != nil {
		return err
	}
	if byDefault != 0 && !v.KeepDefault {
		if err := h.BridgeVlanDel(l, byDefault, true, true, false, true); err != nil {
			return fmt.Errorf("leave the default VLAN %d: %w", byDefault, err)
		}
	}
	if v.Access != 0 {
		if err := h.BridgeVlanAdd(l, v.Access, true, true, false, true); err != nil {
			return fmt.Errorf("enter VLAN %d untagged: %w", v.Access, err)
		}
	}
	for _, r := range v.Trunk {
		if err := h.BridgeVlanAddRange(l, r.First, r.Last, false, false, false, true); err != nil {
			return fmt.Errorf("enter VLAN %v tagged: %w", r, err)
		}
	}
	return nil
}

// byDefault is the VLAN that the bridge puts its new ports into, 0 for none.
func (v VLANs) byDefault(k *kernel.Kernel) (uint16, error) {
	l, err := k.Link(kernel.Host, v.Bridge)
	if err != nil {
		return 0, err
	}
	if b, ok := l.(*netlink.Bridge); ok && b.VlanDefaultPVID != nil {
		return *b.VlanDefaultPVID, nil
	}
	return 1, nil // the kernel's default
}

// Del does nothing: see VLANs.
func (v VLANs) Del(*kernel.Kernel) error { return nil }

// Check looks for every VLAN on the port, and for a default VLAN that should
// have been left.
func (v VLANs) Check(k *kernel.Kernel) error {
	h, err := k.NL(kernel.Host)
	if err != nil {
		return err
	}
	l, err := k.Link(kernel.Host, v.Link)
	if err != nil {
		return err
	}
	all, err := h.BridgeVlanList()
	if err != nil {
		return err
	}
	have := all[int32(l.Attrs().Index)]
	if v.Access != 0 && !slices.ContainsFunc(have, untagged(v.Access)) {
		return fmt.Errorf("untagged frames are not in VLAN %d", v.Access)
	}
	for _, r := range v.Trunk {
		for id := r.First; id <= r.Last; id++ {
			if !slices.ContainsFunc(have, func(i *nl.BridgeVlanInfo) bool { return i.Vid == id }) {
				return fmt.Errorf("the port is not in VLAN %d", id)
			}
		}
	}
	return v.checkLeft(k, have)
}

func (v VLANs) checkLeft(k *kernel.Kernel, have []*nl.BridgeVlanInfo) error {
	byDefault, err := v.byDefault(k)
	wanted := byDefault == v.Access || slices.ContainsFunc(v.Trunk, func(r VLANRange) bool {
		return r.First <= byDefault && byDefault <= r.Last
	})
	if err != nil || v.KeepDefault || wanted {
		return err
	}
	if slices.ContainsFunc(have, func(i *nl.BridgeVlanInfo) bool { return i.Vid == byDefault }) {
		return fmt.Errorf("the port is still in the default VLAN %d", byDefault)
	}
	return nil
}

func untagged(id uint16) func(*nl.BridgeVlanInfo) bool {
	return func(i *nl.BridgeVlanInfo) bool {
		return i.Vid == id && i.Flags&nl.BRIDGE_VLAN_INFO_PVID != 0 && i.Flags&nl.BRIDGE_VLAN_INFO_UNTAGGED != 0
	}
}
