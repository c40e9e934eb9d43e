package addr

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// Gateway is an address that a shared interface of the host has for the pods
// behind it. It stays when a pod goes.
type Gateway struct {
	fact.Stays
	Link   string
	Prefix netip.Prefix
	// Force takes away another address of the same subnet. Without it, such an
	// address is an error as long as other pods may use it.
	Force bool
	// Owned is the calling attachment's own port, which does not count as
	// another pod.
	Owned string
}

func (g Gateway) String() string {
	return fact.Text(fmt.Sprintf("addr host %s %v gateway", g.Link, g.Prefix), fact.Word("force", g.Force))
}

// Add gives the interface the address. One message is enough: whether others
// are in the way is looked at only where the kernel did not know it already.
func (g Gateway) Add(k *kernel.Kernel) error {
	err := g.addr(g.Prefix).Add(k)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := g.displace(k); err != nil {
		return errors.Join(err, g.addr(g.Prefix).Remove(k))
	}
	return nil
}

func (g Gateway) addr(p netip.Prefix) Addr { return Addr{Side: kernel.Host, Link: g.Link, Prefix: p} }

// displace removes addresses of the same subnet that a former configuration left.
// With two of them, a pod could ask the wrong one.
func (g Gateway) displace(k *kernel.Kernel) error {
	have, err := list(k, kernel.Host, g.Link, family(g.Prefix.Addr()))
	if err != nil {
		return err
	}
	for _, other := range have {
		p := prefix(other)
		if p == g.Prefix || p.Addr().IsLinkLocalUnicast() || !p.Overlaps(g.Prefix) {
			continue
		}
		if err := g.mayDisplace(k, p); err != nil {
			return err
		}
		if err := g.addr(p).Remove(k); err != nil {
			return fmt.Errorf("take %v away: %w", p, err)
		}
		// The kernel removes the secondary addresses of a subnet with its first one,
		// which this one may have been (promote_secondaries in ip-sysctl).
		if err := g.addr(g.Prefix).Add(k); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// mayDisplace refuses to remove an address that another pod may use, unless the
// configuration forces it.
func (g Gateway) mayDisplace(k *kernel.Kernel, old netip.Prefix) error {
	if g.Force {
		return nil
	}
	bridge, err := k.Link(kernel.Host, g.Link)
	if err != nil {
		return err
	}
	ports, err := k.Ports(kernel.Host, bridge)
	if err != nil {
		return err
	}
	for _, port := range ports {
		if port.Name != g.Owned {
			err := fmt.Errorf("%s has %v, which overlaps, and %s (%s) may be using it", g.Link, old, port.Name, port.Alias)
			return cni.Hint(cni.WithCode(cni.CodeExists, err), "set forceAddress, or take the old address away with: ip addr del "+old.String()+" dev "+g.Link)
		}
	}
	return nil
}

func (g Gateway) Check(k *kernel.Kernel) error {
	return g.addr(g.Prefix).Check(k)
}
