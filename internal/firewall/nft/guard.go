package nft

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// Guard drops the frames that come out of a pod's host link under another
// hardware address than the pod's own.
// Without an address nothing is guarded.
func Guard(owner name.Attachment, mac net.HardwareAddr) Members {
	m := Members{Owner: owner, Kind: KindGuard, table: bridge}
	if mac != nil {
		m.Elements = []Element{element("guarded", wire.IfName(owner.HostLink()), "%q", owner.HostLink()), allowed(owner, mac)}
	}
	return m
}

// allowed is a hardware address under which a pod may send.
func allowed(owner name.Attachment, mac net.HardwareAddr) Element {
	link := owner.HostLink()
	return element("macs", wire.Fields(wire.IfName(link), mac), "%q . %v", link, mac)
}

// GuardMAC lets a guarded pod send under another address too: the one that it
// is given later in the chain. A pod that is not guarded needs none.
type GuardMAC struct {
	Members
	mac net.HardwareAddr
}

// AllowMAC is GuardMAC of an address, if there is one.
func AllowMAC(owner name.Attachment, mac net.HardwareAddr) GuardMAC {
	m := Members{Owner: owner, Kind: KindGuardMAC, table: bridge}
	if mac != nil {
		m.Elements = []Element{allowed(owner, mac)}
	}
	return GuardMAC{m, mac}
}

func (g GuardMAC) String() string { return fmt.Sprintf("nft  guard allows %v", g.mac) }

// needed reports whether there is a guard, and it knows another address.
func (g GuardMAC) needed() (bool, error) {
	r, guarded, err := records(KindGuard).Find(g.Owner)
	known := func(e Element) bool { return bytes.Equal(e.Key, g.Elements[0].Key) }
	return guarded && !g.Idle() && !slices.ContainsFunc(r.Elements, known), err
}

// Add allows the address where there is a guard, in place of one that a second
// ADD, or a second tuning of one chain, finds allowed.
func (g GuardMAC) Add(k *kernel.Kernel) error {
	if needed, err := g.needed(); err != nil || !needed {
		return err
	}
	err := g.Members.Add(k)
	if errors.Is(err, fs.ErrExist) {
		err = errors.Join(g.Del(k), g.Members.Add(k))
	}
	return err
}

// Check looks for the permission where there is a guard.
func (g GuardMAC) Check(k *kernel.Kernel) error {
	if needed, err := g.needed(); err != nil || !needed {
		return err
	}
	return g.Members.Check(k)
}
