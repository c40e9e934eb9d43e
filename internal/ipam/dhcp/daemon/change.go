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

// change brings the pod's interface from one lease to another; nil is none. The
// first lease's address and routes are the plugin's to set, before this.
func (h *holder) change(k *kernel.Kernel, old, now *client.Lease) error {
	var errs []error
	moved := old == nil || now == nil || old.Address != now.Address
	for _, r := range h.routes(old) {
		if moved || !slices.ContainsFunc(h.routes(now), func(o route.Route) bool { return o.String() == r.String() }) {
			errs = append(errs, r.Remove(k))
		}
	}
	if moved && old != nil {
		// Before the new one: a second address of a subnet goes with the first
		// (promote_secondaries in ip-sysctl).
		errs = append(errs, h.address(old).Remove(k))
	}
	if moved && now != nil {
		errs = append(errs, tolerate(h.address(now).Add(k)))
	}
	for _, r := range h.routes(now) {
		errs = append(errs, tolerate(r.Add(k)))
	}
	if moved && now != nil && now.Address.Addr().Is4() {
		errs = append(errs, client.Announce(k, h.at.IfName, now.Address.Addr()))
	}
	if now != nil {
		errs = append(errs, lowerMTU(k, h.at.IfName, now.MTU))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("change the addresses and routes of %s: %w", h.at.IfName, err)
	}
	return nil
}

// tolerate takes for success that something is there already.
func tolerate(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

func (h *holder) address(l *client.Lease) addr.Addr {
	return addr.Addr{Side: kernel.Pod, Link: h.at.IfName, Prefix: l.Address}
}

// routes are a lease's routes as the plugin sets them.
func (h *holder) routes(l *client.Lease) []route.Route {
	if l == nil {
		return nil
	}
	r := cni.NewResult()
	add(r, l, h.priority)
	return route.OfResult(h.at.IfName, r.Routes, r.IPs)
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
