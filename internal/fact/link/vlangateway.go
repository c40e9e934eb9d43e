package link

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/vishvananda/netlink"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/sysctl"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// VLANGateway is the host's own interface in one VLAN of a bridge: a veth pair of
// which one end, named <bridge>.<vlan>, carries the gateway addresses, and the
// other is a port in that VLAN. It is shared: Del leaves it.
type VLANGateway struct {
	fact.Stays
	Bridge      string
	VLAN        uint16
	KeepDefault bool
}

// Name is the end that has addresses.
func (g VLANGateway) Name() string { return fmt.Sprintf("%s.%d", g.Bridge, g.VLAN) }

// port is the end in the bridge.
func (g VLANGateway) port() string {
	return "veth" + name.Digits("vlan gateway\x00" + g.Name())[:11]
}

func (g VLANGateway) String() string {
	return fmt.Sprintf("link host %s <-> bridge %s vlan %d", g.Name(), g.Bridge, g.VLAN)
}

// Add makes the pair, unless it is there. Where another pod's ADD is making it
// at the same time, each step does no harm twice.
func (g VLANGateway) Add(k *kernel.Kernel) error {
	if g.Check(k) == nil {
		return nil
	}
	bridge, err := k.Link(kernel.Host, g.Bridge)
	if err != nil {
		return err
	}
	pair := netlink.NewVeth(newAttrs(g.Name(), bridge.MTU, nil))
	pair.PeerName = g.port()
	err = k.Create(kernel.Host, pair)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return g.connect(k, bridge)
}

func (g VLANGateway) connect(k *kernel.Kernel, bridge *kernel.Link) error {
	gateway, err := find(k, kernel.Host, g.Name(), "veth")
	if err != nil {
		return err
	}
	port, err := k.LinkAt(kernel.Host, gateway.Parent)
	if err != nil {
		return fmt.Errorf("the other end of %s: %w", g.Name(), err)
	}
	if err := k.SetLink(kernel.Host, port, 0, 0, kernel.Master(bridge.Index)); err != nil {
		return fmt.Errorf("make %s a port of %s: %w", port.Name, g.Bridge, err)
	}
	vlans := VLANs{Link: port.Name, Bridge: g.Bridge, Access: g.VLAN, KeepDefault: g.KeepDefault}
	if vlans.Check(k) != nil {
		if err := vlans.Add(k); err != nil {
			return err
		}
	}
	if err := sysctl.TowardsPods(g.Name()).Add(k); err != nil {
		return err
	}
	return errors.Join(k.SetUp(kernel.Host, port), k.SetUp(kernel.Host, gateway))
}

func (g VLANGateway) Check(k *kernel.Kernel) error {
	l, err := find(k, kernel.Host, g.Name(), "veth")
	return isUp(l, err)
}
