package link

import (
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// Port is how a bridge treats one of its ports. It dies with the link.
type Port struct {
	fact.Stays
	Link     string
	Hairpin  bool // frames may leave by the port that they came in by
	Isolated bool // no frames to and from other isolated ports
}

func (p Port) String() string {
	return fmt.Sprintf("port host %s hairpin=%t isolated=%t", p.Link, p.Hairpin, p.Isolated)
}

// Add sets what differs from a new port, for which both are off.
func (p Port) Add(k *kernel.Kernel) error {
	if !p.Hairpin && !p.Isolated {
		return nil
	}
	return k.SetLink(kernel.Host, &kernel.Link{Name: p.Link}, 0, 0, portSettings(p.Hairpin, p.Isolated))
}

func (p Port) Check(k *kernel.Kernel) error {
	is, err := portAttrs(k, p.Link)
	switch {
	case err != nil:
		return fmt.Errorf("link %s: %w", p.Link, err)
	case is[nl.IFLA_BRPORT_MODE] != p.Hairpin:
		return fmt.Errorf("hairpin is %t", !p.Hairpin)
	case is[nl.IFLA_BRPORT_ISOLATED] != p.Isolated:
		return fmt.Errorf("isolated is %t", !p.Isolated)
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
	fact.Stays
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
	return fact.Text("vlan host", v.Link, fact.Word("access", v.Access), fact.Words("trunk", v.Trunk), fact.Word("and the default", v.KeepDefault))
}

// Add takes the port out of the default VLAN and into its own.
func (v VLANs) Add(k *kernel.Kernel) error {
	l, err := k.Link(kernel.Host, v.Link)
	if err != nil {
		return err
	}
	byDefault, err := v.byDefault(k)
	if err != nil {
		return err
	}
	if byDefault != 0 && byDefault != v.Access && !v.KeepDefault {
		err := k.Call(kernel.Host, func(h *netlink.Handle) error { return h.BridgeVlanDel(l.Typed, byDefault, false, false, false, true) })
		if err != nil {
			return fmt.Errorf("leave the default VLAN %d: %w", byDefault, err)
		}
	}
	for _, r := range v.Trunk {
		if err := r.join(k, l, false); err != nil {
			return err
		}
	}
	if v.Access == 0 {
		return nil
	}
	// It comes last, as a trunk with the same VLAN would take its flags away.
	return VLANRange{v.Access, v.Access}.join(k, l, true)
}

// join puts a port into VLANs, for untagged frames too.
func (r VLANRange) join(k *kernel.Kernel, port *kernel.Link, untagged bool) error {
	last := r.Last
	if last == r.First {
		last = 0 // the library takes no range of one
	}
	err := k.Call(kernel.Host, func(h *netlink.Handle) error {
		return h.BridgeVlanAddRange(port.Typed, r.First, last, untagged, untagged, false, true)
	})
	if err != nil {
		return fmt.Errorf("join VLAN %v: %w", r, err)
	}
	return nil
}

// byDefault is the VLAN that the bridge puts its new ports into, 0 for none.
func (v VLANs) byDefault(k *kernel.Kernel) (uint16, error) {
	l, err := k.Link(kernel.Host, v.Bridge)
	if err != nil {
		return 0, err
	}
	if !canFilter(l) {
		return 0, errNoVLANFiltering
	}
	return *l.Typed.(*netlink.Bridge).VlanDefaultPVID, nil
}

// Check looks for every VLAN on the port, and for a default VLAN that should
// have been left.
func (v VLANs) Check(k *kernel.Kernel) error {
	l, err := k.Link(kernel.Host, v.Link)
	if err != nil {
		return err
	}
	have, err := vlansOf(k, l)
	if err != nil {
		return err
	}
	if in := have[v.Access]; v.Access != 0 && (in == nil || !in.PortVID() || !in.EngressUntag()) {
		return fmt.Errorf("untagged frames are not in VLAN %d", v.Access)
	}
	for _, r := range v.Trunk {
		for id := r.First; id <= r.Last; id++ {
			if have[id] == nil {
				return fmt.Errorf("the port is not in VLAN %d", id)
			}
		}
	}
	byDefault, err := v.byDefault(k)
	if err == nil && have[byDefault] != nil && !v.KeepDefault && !v.wants(byDefault) {
		err = fmt.Errorf("the port is still in the default VLAN %d", byDefault)
	}
	return err
}

// wants reports whether the port is to be in a VLAN.
func (v VLANs) wants(id uint16) bool {
	return id == v.Access || slices.ContainsFunc(v.Trunk, func(r VLANRange) bool { return r.First <= id && id <= r.Last })
}

// vlansOf lists the VLANs of one port.
func vlansOf(k *kernel.Kernel, l *kernel.Link) (map[uint16]*nl.BridgeVlanInfo, error) {
	list, err := kernel.ListOf(k, kernel.Host, func(h *netlink.Handle) ([]*nl.BridgeVlanInfo, error) {
		ports, err := h.BridgeVlanList()
		return ports[int32(l.Index)], err
	})
	if err != nil {
		return nil, fmt.Errorf("list the VLANs of the bridges' ports: %w", err)
	}
	have := map[uint16]*nl.BridgeVlanInfo{}
	for _, vlan := range list {
		have[vlan.Vid] = vlan
	}
	return have, nil
}
