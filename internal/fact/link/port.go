package link

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/netlink"
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

// Attributes of a bridge's port that golang.org/x/sys does not have
// (linux/if_link.h).
const (
	portHairpin  = 4  // IFLA_BRPORT_MODE
	portIsolated = 33 // IFLA_BRPORT_ISOLATED
)

// Add sets what differs from a new port, for which both are off.
func (p Port) Add(k *kernel.Kernel) error {
	var attrs []netlink.Attr
	if p.Hairpin {
		attrs = append(attrs, netlink.U8(portHairpin, 1))
	}
	if p.Isolated {
		attrs = append(attrs, netlink.U8(portIsolated, 1))
	}
	if attrs == nil {
		return nil
	}
	return k.SetLink(kernel.Host, kernel.Named(p.Link), 0, 0, kernel.PortInfo("bridge", attrs...))
}

// Del does nothing: see Port.
func (p Port) Del(*kernel.Kernel) error { return nil }

// Check compares both settings.
func (p Port) Check(k *kernel.Kernel) error {
	l, err := k.Link(kernel.Host, p.Link)
	if err != nil {
		return err
	}
	is := func(kind uint16) bool {
		on := netlink.Find(l.PortInfo, kind)
		return len(on) > 0 && on[0] != 0
	}
	switch {
	case is(portHairpin) != p.Hairpin:
		return fmt.Errorf("hairpin is %t", is(portHairpin))
	case is(portIsolated) != p.Isolated:
		return fmt.Errorf("isolated is %t", is(portIsolated))
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

// Attributes of a port's VLANs that golang.org/x/sys does not have
// (linux/if_bridge.h).
const (
	vlanInfo       = 2 // IFLA_BRIDGE_VLAN_INFO
	vlanPVID       = 1 << 1
	vlanUntagged   = 1 << 2
	vlanRangeBegin = 1 << 3
	vlanRangeEnd   = 1 << 4
	onlyVLANs      = 1 << 1 // RTEXT_FILTER_BRVLAN
)

// entry is struct bridge_vlan_info.
func entry(flags, id uint16) netlink.Attr {
	return netlink.Bytes(vlanInfo, binary.NativeEndian.AppendUint16(binary.NativeEndian.AppendUint16(nil, flags), id))
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
		if err := change(k, unix.RTM_DELLINK, l, entry(0, byDefault)); err != nil {
			return fmt.Errorf("leave the default VLAN %d: %w", byDefault, err)
		}
	}
	var entries []netlink.Attr
	for _, r := range v.Trunk {
		if r.First == r.Last {
			entries = append(entries, entry(0, r.First))
			continue
		}
		entries = append(entries, entry(vlanRangeBegin, r.First), entry(vlanRangeEnd, r.Last))
	}
	if v.Access != 0 { // last, as a trunk with the same VLAN would take its flags away
		entries = append(entries, entry(vlanPVID|vlanUntagged, v.Access))
	}
	return change(k, unix.RTM_SETLINK, l, entries...)
}

// change adds or removes VLANs of a port in one message.
func change(k *kernel.Kernel, kind uint16, l *kernel.Link, entries ...netlink.Attr) error {
	c, err := k.Conn(kernel.Host)
	if err != nil {
		return err
	}
	body := kernel.BridgeHeader(l.Index)
	_, err = c.Request(netlink.Message{Type: kind, Body: append(body, netlink.Nest(unix.IFLA_AF_SPEC, entries...)...)})
	return kernel.Cause(err)
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
	return binary.NativeEndian.Uint16(netlink.Find(l.Info, bridgeDefaultPVID)), nil
}

// Del does nothing: see VLANs.
func (v VLANs) Del(*kernel.Kernel) error { return nil }

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
	const access = vlanPVID | vlanUntagged
	if v.Access != 0 && have[v.Access]&access != access {
		return fmt.Errorf("untagged frames are not in VLAN %d", v.Access)
	}
	for _, r := range v.Trunk {
		for id := r.First; id <= r.Last; id++ {
			if _, ok := have[id]; !ok {
				return fmt.Errorf("the port is not in VLAN %d", id)
			}
		}
	}
	return v.checkLeft(k, have)
}

func (v VLANs) checkLeft(k *kernel.Kernel, have map[uint16]uint16) error {
	byDefault, err := v.byDefault(k)
	wanted := byDefault == v.Access || slices.ContainsFunc(v.Trunk, func(r VLANRange) bool {
		return r.First <= byDefault && byDefault <= r.Last
	})
	if err != nil || v.KeepDefault || wanted {
		return err
	}
	if _, ok := have[byDefault]; ok {
		return fmt.Errorf("the port is still in the default VLAN %d", byDefault)
	}
	return nil
}

// vlansOf lists the VLANs of one port, with their flags.
func vlansOf(k *kernel.Kernel, l *kernel.Link) (map[uint16]uint16, error) {
	c, err := k.Conn(kernel.Host)
	if err != nil {
		return nil, err
	}
	mask := netlink.U32(unix.IFLA_EXT_MASK, onlyVLANs)
	answers, err := c.Dump(netlink.Message{Type: unix.RTM_GETLINK, Body: append(kernel.BridgeHeader(0), mask...)})
	if err != nil {
		return nil, fmt.Errorf("list the VLANs of the bridges' ports: %w", err)
	}
	have := map[uint16]uint16{}
	for _, a := range answers {
		if kernel.HeaderIndex(a) != l.Index {
			continue
		}
		for kind, data := range netlink.Attrs(netlink.Find(a[unix.SizeofIfInfomsg:], unix.IFLA_AF_SPEC)) {
			if kind == vlanInfo && len(data) == 4 {
				have[binary.NativeEndian.Uint16(data[2:])] = binary.NativeEndian.Uint16(data)
			}
		}
	}
	return have, nil
}
