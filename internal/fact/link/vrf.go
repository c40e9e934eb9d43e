package link

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/vishvananda/netlink"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/route"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// VRF is the pod's interface being in a VRF: its addresses are the VRF's alone,
// and its routes are in the VRF's table (networking/vrf.rst of the kernel's
// documentation). The device of the VRF comes with its first interface and goes
// with its last, as upstream's plugin has it.
type VRF struct {
	Name  string
	Link  string
	Owner name.Attachment
	// Table is the VRF's routing table, 0 for the one that it has, or for a free
	// one.
	Table int
	// FallThrough lets a device that is made here look in the main table for what
	// its own has no route to.
	FallThrough bool
	// Routes are those that the main table had by the link. CHECK looks for them.
	Routes []route.Route
}

func (v VRF) String() string {
	return fact.Text("link pod", v.Link, "in vrf", v.Name, fact.Word("table", v.Table), fact.Word("falling through to main", v.FallThrough))
}

// Add puts the interface into the VRF, and makes its device where there is none.
func (v VRF) Add(k *kernel.Kernel) error {
	unlock, err := k.LockPod()
	if err != nil {
		return err
	}
	defer unlock()
	l, err := v.link(k)
	if err != nil {
		return err
	}
	if l.Master != 0 {
		return fact.Refused(v.taken(k, l))
	}
	device, err := v.device(k)
	made := errors.Is(err, fs.ErrNotExist)
	switch {
	case made:
		if device, err = v.create(k); err != nil {
			return err
		}
	case err != nil:
		return fact.Refused(err)
	}
	err = enslave(k, l, device, v.Owner)
	if err != nil && made {
		err = errors.Join(err, v.removeIfEmpty(k, device))
	}
	return err
}

// link is the interface as it is now.
func (v VRF) link(k *kernel.Kernel) (*kernel.Link, error) {
	k.Invalidate(kernel.Pod, v.Link)
	return k.Link(kernel.Pod, v.Link)
}

// taken says whose port the interface is.
func (v VRF) taken(k *kernel.Kernel, l *kernel.Link) error {
	master, err := k.LinkAt(kernel.Pod, l.Master)
	if err != nil {
		return err
	}
	if master.Name == v.Name {
		return cni.Taken("%s is in vrf %s already", v.Link, v.Name)
	}
	err = cni.WithCode(cni.CodeExists, fmt.Errorf("%s belongs to %s (a %s) already, and can have one master", v.Link, master.Name, master.Kind))
	return cni.Hint(err, "leave the plugin out of the chain that makes it a port there, or vrf")
}

// device finds the VRF's device, and refuses one that is not as it is wanted.
func (v VRF) device(k *kernel.Kernel) (*kernel.Link, error) {
	k.Invalidate(kernel.Pod, v.Name)
	device, err := find(k, kernel.Pod, v.Name, "vrf")
	if err != nil {
		return nil, err
	}
	if v.Table != 0 && device.Table() != v.Table {
		err := fmt.Errorf("vrf %s is there with table %d, not %d", v.Name, device.Table(), v.Table)
		return nil, cni.Hint(err, "leave table out to take the one that it has; all networks of a pod that share a vrf have to agree")
	}
	return device, nil
}

// create makes the device, up, or nothing.
func (v VRF) create(k *kernel.Kernel) (*kernel.Link, error) {
	table := v.Table
	if table == 0 {
		free, err := route.FreeTables(k, 1, 1)
		if err != nil {
			return nil, err
		}
		table = free[0]
	}
	if err := k.Create(kernel.Pod, &netlink.Vrf{LinkAttrs: newAttrs(v.Name, 0, nil), Table: uint32(table)}); err != nil {
		return nil, err
	}
	device, err := k.Link(kernel.Pod, v.Name)
	if err != nil {
		return nil, err
	}
	// Without the interface DEL knows the device by the alias.
	err = k.SetUp(kernel.Pod, device, kernel.Alias(v.Owner.Alias()))
	if err == nil && !v.FallThrough {
		err = route.Unreachable(k, table)
	}
	if err != nil {
		return nil, errors.Join(err, v.removeIfEmpty(k, device))
	}
	return device, nil
}

// removeIfEmpty removes the device, unless an interface is in it.
func (v VRF) removeIfEmpty(k *kernel.Kernel, device *kernel.Link) error {
	links, err := k.Links(kernel.Pod)
	if err != nil {
		return err
	}
	var shared bool
	for _, l := range links {
		if l.Master == device.Index {
			return nil
		}
		shared = shared || l.Kind == "vrf" && l.Index != device.Index && l.Table() == device.Table()
	}
	if !shared {
		err = route.Reachable(k, device.Table())
	}
	return errors.Join(err, k.RemoveLink(kernel.Pod, device))
}

// Del takes the interface out of this VRF, if it is in it, and removes the
// device when no other is. Who cannot get the lock does without: the interface
// and the pod are about to go.
func (v VRF) Del(k *kernel.Kernel) error {
	if !k.Has(kernel.Pod) || v.Name == "" {
		return nil
	}
	if unlock, err := k.LockPod(); err == nil {
		defer unlock()
	}
	v.Table = 0 // whatever it is by now
	device, err := v.device(k)
	if errors.Is(err, fs.ErrNotExist) || device == nil && isForeign(k, v.Name) {
		return nil
	}
	if err != nil {
		return err
	}
	l, err := v.link(k)
	if err == nil && !k.Owned(l) || errors.Is(err, fs.ErrNotExist) && !k.Owned(device) {
		return nil // the device is another pod's too
	}
	if err == nil && l.Master == device.Index {
		err = release(k, l, device)
	}
	return errors.Join(kernel.Gone(err), v.removeIfEmpty(k, device))
}

// isForeign reports whether a link of the pod is no VRF.
func isForeign(k *kernel.Kernel, name string) bool {
	l, err := k.Link(kernel.Pod, name)
	return err == nil && l.Kind != "vrf"
}

func (v VRF) Check(k *kernel.Kernel) error {
	device, err := v.device(k)
	if err != nil {
		return err
	}
	l, err := v.link(k)
	switch {
	case err != nil:
		return err
	case !device.Up():
		return fmt.Errorf("vrf %s is down", v.Name)
	case l.Master != device.Index:
		return fmt.Errorf("%s is not in it", v.Link)
	}
	return fact.ForEach(v.Routes, func(r route.Route) error {
		if r.Table != 0 {
			return nil
		}
		r.Table = device.Table()
		if err := r.Check(k); err != nil {
			return fmt.Errorf("%v: %w", r, err)
		}
		return nil
	})
}
