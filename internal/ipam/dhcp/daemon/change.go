package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact/addr"
	"github.com/catena-cni/catena/internal/fact/route"
	"github.com/catena-cni/catena/internal/ipam/dhcp/client"
	"github.com/catena-cni/catena/internal/kernel"
)

// part is a part of a lease on the pod's interface: an address or a route.
type part interface {
	fmt.Stringer
	Add(*kernel.Kernel) error
	Remove(*kernel.Kernel) error
}

// parts are a lease's, nil for none, as the plugin sets them.
func (a *attachment) parts(l *client.Lease) (out []part) {
	if l == nil {
		return nil
	}
	out = append(out, addr.Addr{Side: kernel.Pod, Link: a.at.IfName, Prefix: l.Address})
	r := cni.NewResult()
	add(r, l, a.priority)
	for _, over := range route.OfResult(a.at.IfName, r.Routes, r.IPs) {
		out = append(out, over)
	}
	return out
}

// change brings the pod's interface from one lease to another; nil is none. The
// first lease's address and routes are the plugin's to set, before this.
func (a *attachment) change(k *kernel.Kernel, old, now *client.Lease) error {
	var errs []error
	before, after := a.parts(old), a.parts(now)
	// The former address goes before the new one comes: a second address of a
	// subnet goes with the first (promote_secondaries in ip-sysctl).
	for _, p := range slices.Backward(before) {
		if !slices.ContainsFunc(after, func(o part) bool { return o.String() == p.String() }) {
			errs = append(errs, p.Remove(k))
		}
	}
	for _, p := range after {
		if err := p.Add(k); !errors.Is(err, fs.ErrExist) {
			errs = append(errs, err)
		}
	}
	if now != nil {
		errs = append(errs, lowerMTU(k, a.at.IfName, now.MTU))
		if now.Address.Addr().Is4() && (old == nil || old.Address != now.Address) {
			errs = append(errs, client.Announce(k, a.at.IfName, now.Address.Addr()))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("change the addresses and routes of %s: %w", a.at.IfName, err)
	}
	return nil
}

// lowerMTU sets the interface's MTU to what the server says of the segment, 0
// for nothing. A larger one than the link has would not fit through what is
// behind it, and a smaller one than IPv6's least would take IPv6 away.
func lowerMTU(k *kernel.Kernel, ifname string, mtu int) error {
	if mtu == 0 {
		return nil
	}
	mtu = max(mtu, addr.MTUMin6)
	l, err := k.Link(kernel.Pod, ifname)
	if err != nil || mtu >= l.MTU {
		return err
	}
	h, err := k.Handle(kernel.Pod)
	if err == nil {
		err = h.LinkSetMTU(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: l.Index}}, mtu)
	}
	if err != nil {
		return fmt.Errorf("set the MTU %d that the server gives: %w", mtu, err)
	}
	k.Invalidate(kernel.Pod, ifname)
	return nil
}
