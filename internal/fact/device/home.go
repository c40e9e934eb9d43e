package device

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kernel"
)

// bringHome finds the device wherever it is and makes it again what it was.
// settled says that nothing is left to do for it: it is home, or no more. It is
// home also where one of its settings could not be restored.
func (r record) bringHome(k *kernel.Kernel) (settled bool, err error) {
	if k.Has(kernel.Pod) && r.PodID.Is(k.PodID()) {
		if l, err := r.find(k, kernel.Pod, r.Owner.IfName, r.Name); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return r.leave(k, l, err)
		}
	}
	// The runtime may not have said where the pod is, or what is there is another's.
	if other := r.openPod(k); other != nil {
		defer other.Close()
		if l, err := r.find(other, kernel.Pod, r.Owner.IfName, r.Name); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return r.leave(other, l, err)
		}
	}
	l, err := r.awaitOnHost(k)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case errors.Is(err, errAway):
		return false, nil
	case err != nil:
		return false, err
	}
	return r.rename(k, l)
}

// openPod opens the namespace that the device went to, where it is there and is
// not the one that k has open. Else it is nil.
func (r record) openPod(k *kernel.Kernel) *kernel.Kernel {
	if r.abandoned() || k.Has(kernel.Pod) && r.PodID.Is(k.PodID()) {
		return nil
	}
	other, err := kernel.Open(r.Netns)
	if err != nil {
		return nil
	}
	if !other.Has(kernel.Pod) || !r.PodID.Is(other.PodID()) {
		other.Close()
		return nil
	}
	return other
}

// find looks for the device on one side: under the names that it should have,
// then among all links.
func (r record) find(k *kernel.Kernel, side kernel.Side, names ...string) (*kernel.Link, error) {
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
		if r.surely(l) {
			return l, nil
		}
	}
	return nil, fmt.Errorf("link %s: there is none: %w", r.Name, fs.ErrNotExist)
}

// homeWait bounds the wait for hardware whose pod's namespace has just been
// removed: the kernel sends it home when it gets round to it, which takes it
// some tenths of a second.
const homeWait = 5 * time.Second

// errAway: the device is plugged in, and in no namespace that can be looked into.
var errAway = errors.New("somebody holds its namespace open")

// awaitOnHost finds the device on the host. Hardware comes there by itself when
// its namespace goes. Where it does not, although it is plugged in, somebody
// holds that namespace open.
func (r record) awaitOnHost(k *kernel.Kernel) (*kernel.Link, error) {
	var l *kernel.Link
	err := k.Await(kernel.Host, unix.RTNLGRP_LINK, homeWait, func() (_ bool, err error) {
		k.Forget(kernel.Host, r.Name)
		l, err = r.find(k, kernel.Host, r.Name)
		if errors.Is(err, fs.ErrNotExist) && r.pluggedIn() {
			return false, nil
		}
		return true, err
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, errAway
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

// leave is takeOut, or the error of the search.
func (r record) leave(k *kernel.Kernel, l *kernel.Link, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	return r.takeOut(k, l)
}

// takeOut moves the device out of the pod under its own name and alias, in one
// message, and restores its settings.
func (r record) takeOut(k *kernel.Kernel, l *kernel.Link) (bool, error) {
	host, err := k.HostFD()
	if err != nil {
		return false, err
	}
	defer unix.Close(host)
	own, taken := r.freeName(k, 0)
	err = k.SetLink(kernel.Pod, l, 0, 0, kernel.NetnsFD(host), kernel.Name(own), kernel.Alias(r.Alias))
	if err != nil {
		return false, fmt.Errorf("move %s home as %s: %w", l.Name, own, err)
	}
	k.Forget(kernel.Host, own)
	return true, errors.Join(taken, r.restore(k, own))
}

// rename gives a device that is on the host its name and alias back.
func (r record) rename(k *kernel.Kernel, l *kernel.Link) (bool, error) {
	own, taken := l.Name, error(nil)
	if l.Name != r.Name {
		own, taken = r.freeName(k, l.Index)
	}
	if own != l.Name && l.Up() {
		// Before Linux 6.2 a link that is up has a fixed name.
		if err := k.SetLink(kernel.Host, l, 0, unix.IFF_UP); err != nil {
			return false, fmt.Errorf("take %s down: %w", l.Name, err)
		}
	}
	if own != l.Name || l.Alias != r.Alias {
		if err := k.SetLink(kernel.Host, l, 0, 0, kernel.Name(own), kernel.Alias(r.Alias)); err != nil {
			return false, fmt.Errorf("rename %s to %s: %w", l.Name, own, err)
		}
		k.Forget(kernel.Host, own)
	}
	return true, errors.Join(taken, r.restore(k, own))
}

// freeName is the device's name, or where a link of the host has taken it
// meanwhile, one like it, with the error that says so.
func (r record) freeName(k *kernel.Kernel, index int) (string, error) {
	own := r.Name
	var taken error
	for i := 1; i < 1000; i++ {
		k.Forget(kernel.Host, own)
		l, err := k.Link(kernel.Host, own)
		if err != nil || l.Index == index {
			return own, taken
		}
		own = fmt.Sprintf("%.11s_%d", r.Name, i)
		taken = cni.Taken("%s came home as %s: another link of the host has its name meanwhile", r.Name, own)
		taken = cni.Hint(taken, "nothing is left to be done but to give the device a name that is free: ip link set "+own+" name ...")
	}
	return own, taken
}

// restore makes the device's settings again what they were. What cannot be
// restored does not keep the others from it.
func (r record) restore(k *kernel.Kernel, own string) error {
	l, err := k.Link(kernel.Host, own)
	if err != nil {
		return err
	}
	errs := []error{r.restoreLink(k, l)}
	for _, a := range r.Addresses {
		errs = append(errs, a.Give(k, kernel.Host, l))
	}
	return wrap(own, errors.Join(errs...))
}

func wrap(own string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s is home, but not as it was: %w", own, err)
}

// restoreLink restores what messages about links set. A device that is up stays up.
func (r record) restoreLink(k *kernel.Kernel, l *kernel.Link) error {
	var attrs []nl.NetlinkRequestData
	if mac, err := net.ParseMAC(r.MAC); err == nil && mac.String() != l.MAC.String() {
		attrs = append(attrs, kernel.MAC(mac))
	}
	if r.MTU != 0 && r.MTU != l.MTU {
		attrs = append(attrs, kernel.MTU(r.MTU))
	}
	var lost error
	if r.Master != "" {
		master, err := k.Link(kernel.Host, r.Master)
		if err != nil {
			lost = fmt.Errorf("master: %w", err)
		} else if master.Index != l.Master {
			attrs = append(attrs, kernel.Master(master.Index))
		}
	}
	var raise uint32
	if r.Up && !l.Up() {
		raise = unix.IFF_UP
	}
	if len(attrs) == 0 && raise == 0 {
		return lost
	}
	return errors.Join(lost, k.SetLink(kernel.Host, l, raise, raise, attrs...))
}
