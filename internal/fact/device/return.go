package device

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/addr"
	"github.com/catena-cni/catena/internal/kernel"
)

// returnToHost finds the device wherever it is, makes it again what it was, and
// removes the record. The record stays where the device cannot be reached.
func (r record) returnToHost(k *kernel.Kernel) error {
	var l *kernel.Link
	side := kernel.Pod
	view, err := r.pod(k)
	if err == nil {
		l, err = r.find(view, kernel.Pod, r.Owner.IfName, r.Name)
		if view != k {
			defer view.Close()
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		side, view = kernel.Host, k
		l, err = r.awaitOnHost(k)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return records.Remove(r.Owner) // it was virtual and died with the pod, or was pulled out
	case errors.Is(err, errAway):
		return nil
	case err != nil:
		return err
	}
	moved, err := r.moveToHost(view, side, l)
	switch known := cni.IsTaken(err) || errors.Is(err, fs.ErrNotExist); {
	case !moved:
		return err
	case err == nil, known, r.Tried:
		return errors.Join(err, records.Remove(r.Owner))
	}
	r.Tried = true // the next DEL tries once more
	return errors.Join(err, records.Replace(r))
}

// pod opens the namespace that the device went to, which is fs.ErrNotExist where
// that is gone. The runtime may not say where it is, or name one that is another
// pod's.
func (r record) pod(k *kernel.Kernel) (*kernel.Kernel, error) {
	if k.Has(kernel.Pod) && r.PodID.Is(k.PodID()) {
		return k, nil
	}
	if r.Abandoned() {
		return nil, fs.ErrNotExist
	}
	other, err := kernel.Open(r.Netns)
	if err == nil && (!other.Has(kernel.Pod) || !r.PodID.Is(other.PodID())) {
		other.Close()
		err = fs.ErrNotExist
	}
	return other, err
}

// find looks for the device on one side: by its inode, or where that is not known
// under the names that it should have, then among all links.
func (r record) find(k *kernel.Kernel, side kernel.Side, names ...string) (*kernel.Link, error) {
	if r.Inode != 0 {
		return k.LinkOfInode(side, r.Inode, names[0])
	}
	for _, n := range names {
		l, err := k.Link(side, n)
		if err == nil && r.same(l) {
			return l, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	links, err := k.Links(side)
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		if r.unmistakable(l) {
			return l, nil
		}
	}
	return nil, fmt.Errorf("link %s: there is none: %w", r.Name, fs.ErrNotExist)
}

// returnWait bounds the wait for hardware whose pod's namespace has just been
// removed: the kernel sends it back when it gets round to it, which takes it
// some tenths of a second.
const returnWait = 5 * time.Second

// errAway: the device is plugged in, and in no namespace that can be looked into.
var errAway = errors.New("somebody holds its namespace open")

// awaitOnHost finds the device on the host. Hardware comes there by itself when
// its namespace goes. Where it does not, although it is plugged in, somebody
// holds that namespace open.
func (r record) awaitOnHost(k *kernel.Kernel) (l *kernel.Link, err error) {
	err = k.Await(context.Background(), kernel.Host, unix.RTNLGRP_LINK, returnWait, func() (_ bool, err error) {
		k.Invalidate(kernel.Host, r.Name)
		l, err = r.find(k, kernel.Host, r.Name)
		if errors.Is(err, fs.ErrNotExist) && r.pluggedIn() {
			return false, nil
		}
		return true, err
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errAway
	}
	return l, err
}

// pluggedIn reports whether the device is hardware that the host has, with a
// driver that makes a link of it.
func (r record) pluggedIn() bool {
	if r.Hardware == "" {
		return false
	}
	driver, err := os.Readlink(r.Hardware + "/driver")
	return err == nil && !inUserspace(driver)
}

// moveToHost gives the device its name and alias back, in the same message that
// moves it where it is in the pod still, and then its settings. It is back also
// where one of those could not be restored.
func (r record) moveToHost(k *kernel.Kernel, side kernel.Side, l *kernel.Link) (moved bool, err error) {
	own, taken := r.freeName(k, side, l)
	attrs := []*nl.RtAttr{kernel.Alias(r.Alias), kernel.Group(0)}
	if r.Settings != nil {
		attrs[1] = kernel.Group(r.Settings.Group)
		if err := r.dropNames(k, side, l); err != nil {
			return false, err
		}
	}
	if side == kernel.Pod {
		host, err := kernel.OpenHostNetns()
		if err != nil {
			return false, err
		}
		defer host.Close()
		attrs = append(attrs, kernel.NetnsFD(int(host.Fd())))
	}
	if own != l.Name || side == kernel.Pod {
		attrs = append(attrs, kernel.Name(own))
	}
	if own != l.Name && side == kernel.Host && l.Up() {
		// Before Linux 6.2 a link that is up has a fixed name.
		if err := k.SetLink(kernel.Host, l, 0, unix.IFF_UP); err != nil {
			return false, fmt.Errorf("take %s down: %w", l.Name, err)
		}
	}
	if err := k.SetLink(side, l, 0, 0, attrs...); err != nil {
		return false, fmt.Errorf("bring %s home as %s: %w", l.Name, own, err)
	}
	k.Invalidate(kernel.Host, own)
	if err = r.restore(k, own); err != nil {
		err = fmt.Errorf("%s is home, but not as it was: %w", own, err)
	}
	return true, errors.Join(taken, err)
}

// dropNames takes the alternative names that the pod has added. With one that the
// host has, the kernel would not let the device in.
func (r record) dropNames(k *kernel.Kernel, side kernel.Side, l *kernel.Link) error {
	for _, n := range l.Typed.Attrs().AltNames {
		if slices.Contains(r.Settings.AltNames, n) {
			continue
		}
		if err := k.Call(side, func(h *netlink.Handle) error { return h.LinkDelAltName(l.Typed, n) }); err != nil {
			return fmt.Errorf("take the name %s from %s: %w", n, l.Name, err)
		}
	}
	return nil
}

// freeName is the device's name, or where another link of the host has taken it
// meanwhile, one like it, with the error that says so.
func (r record) freeName(k *kernel.Kernel, side kernel.Side, device *kernel.Link) (own string, taken error) {
	own = r.Name
	for i := 1; i < 1000; i++ {
		k.Invalidate(kernel.Host, own)
		l, err := k.Link(kernel.Host, own)
		if err != nil || side == kernel.Host && l.Index == device.Index {
			return own, taken
		}
		own = fmt.Sprintf("%.11s_%d", r.Name, i)
		taken = cni.Taken("%s came home as %s: another link of the host has its name meanwhile", r.Name, own)
		taken = cni.Hint(taken, "nothing is left to be done but to give the device a name that is free: ip link set "+own+" name ...")
	}
	return own, taken
}

// restore makes the device's settings again what they were. What cannot be
// restored does not keep the others from it. A device that is up stays up.
func (r record) restore(k *kernel.Kernel, own string) error {
	l, err := k.Link(kernel.Host, own)
	if err != nil {
		return err
	}
	if r.Inode != 0 && !r.is(k, kernel.Host, l) {
		return errors.New("it is another link, which was put in its place just now")
	}
	var errs []error
	var attrs []*nl.RtAttr
	if mac, err := net.ParseMAC(r.MAC); err == nil && mac.String() != l.MAC.String() {
		attrs = append(attrs, kernel.MAC(mac))
	}
	if r.MTU != 0 && r.MTU != l.MTU {
		attrs = append(attrs, kernel.MTU(r.MTU))
	}
	if r.Master != "" {
		master, err := k.Link(kernel.Host, r.Master)
		if err != nil {
			errs = append(errs, fmt.Errorf("master: %w", err))
		} else if master.Index != l.Master {
			attrs = append(attrs, kernel.Master(master.Index))
		}
	}
	var flags, change uint32
	if r.Settings != nil {
		flags, change = r.Settings.Flags, (r.Settings.Flags^l.Flags)&settable
		if r.Settings.TxQLen != l.TxQLen {
			attrs = append(attrs, kernel.TxQLen(r.Settings.TxQLen))
		}
	}
	if r.Up && !l.Up() {
		flags, change = flags|unix.IFF_UP, change|unix.IFF_UP
	}
	if len(attrs) > 0 || change != 0 {
		errs = append(errs, k.SetLink(kernel.Host, l, flags, change, attrs...))
	}
	errs = append(errs, fact.ForEach(r.Addresses, func(a addr.Kept) error { return a.Give(k, kernel.Host, l) }))
	return errors.Join(errs...)
}
