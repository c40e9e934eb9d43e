package tc

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// Bands is two bands (tc-prio(8)): one for exempt packets, one that has the shaper.
// It is there only where something is exempt: a shaper alone is at the root, where
// upstream's plugin looks for it.
type Bands struct {
	On Place
	// Exempt are the subnets of the other side's addresses.
	Exempt []netip.Prefix
	End    End
}

// End is the one of a packet's two addresses that is the other side's.
type End int

// Packets to the pod are known by their source, those from it by their
// destination.
const (
	Source End = iota
	Destination
)

func (e End) String() string { return [...]string{"from", "to"}[e] }

// ShapedBand is the parent of a shaper beside an exempt band.
const ShapedBand = shapedBand

func (b Bands) String() string {
	return fmt.Sprintf("prio %s exempt %v %s", b.On.text(), b.End, fact.Words("", b.Exempt))
}

func (b Bands) Idle() bool { return len(b.Exempt) == 0 }

// Add makes the bands, and then the filters that choose the exempt one.
func (b Bands) Add(k *kernel.Kernel) error {
	t, err := b.On.find(k)
	if err != nil {
		return err
	}
	bands := &netlink.Prio{QdiscAttrs: t.attrs(bandsID, Root), Bands: 2}
	for n := range bands.PriorityMap {
		bands.PriorityMap[n] = 1 // what no filter knows is in the second
	}
	if err := t.taken(Root, t.add(bands)); err != nil {
		return err
	}
	if err := t.exempt(bandsID, bandsPriority, exemptBand, b.End, b.Exempt); err != nil {
		return errors.Join(err, t.remove(bandsID, Root))
	}
	return nil
}

func (b Bands) Made(k *kernel.Kernel) (bool, error) {
	_, there, err := look(k, b.On, Root)
	return there.ours(), gone(err)
}

func (d discipline) ours() bool {
	return d.kind == "prio" && d.handle == bandsID || d.kind == "tbf" && d.handle == shaperID && d.shaping().ours
}

// Del removes the bands, with the filters and all that is below, or a shaper of a
// former configuration without exempt subnets.
func (b Bands) Del(k *kernel.Kernel) error {
	t, there, err := look(k, b.On, Root)
	if err != nil || !there.ours() {
		return gone(err)
	}
	return t.remove(there.handle, Root)
}

func (b Bands) Check(k *kernel.Kernel) error {
	t, there, err := look(k, b.On, Root)
	switch {
	case err != nil:
		return err
	case there.kind != "prio" || there.handle != bandsID:
		return there.instead(t)
	}
	return t.exempts(bandsID, bandsPriority, b.End, b.Exempt)
}
