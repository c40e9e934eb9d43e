// Package device is the fact that a device of the host is in a pod.
//
// A move changes what was there before, so that is written down first, and
// made true again when the device comes back to the host: by DEL, by GC, or when somebody
// asks for a device whose pod is gone.
package device

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact/link"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// Device is a device of the host being in the pod, under the attachment's
// interface's name. Its alias there is its name on the host, as upstream's
// host-device has it, so each moves back what the other has moved.
type Device struct {
	Owner  name.Attachment
	Select Selector
	// Userspace says that a driver in user space has the device, so that there
	// is no link to move.
	Userspace bool
	// MAC is the address that the link in the pod is to have, nil for its own.
	MAC net.HardwareAddr
}

func (d Device) String() string {
	if d.Userspace {
		return fmt.Sprintf("none pod %s is host %v, which has a driver in user space", d.Owner.IfName, d.Select)
	}
	return fmt.Sprintf("link pod %s is host %v", d.Owner.IfName, d.Select)
}

func (d Device) Add(k *kernel.Kernel) error {
	if d.Userspace {
		return nil
	}
	if !k.Has(kernel.Pod) {
		return kernel.ErrNoPod
	}
	if err := link.Free(k, d.Owner.IfName); err != nil {
		return err
	}
	// The interface is free, so a record of this attachment is of an ADD that
	// died, or of a pod that is gone.
	if err := d.Del(k); err != nil {
		return err
	}
	l, err := d.Select.find(k)
	if err != nil {
		return err
	}
	if l.Flags&unix.IFF_LOOPBACK != 0 {
		return fmt.Errorf("%s%s cannot leave its network namespace", l.Name, kindText(l))
	}
	r, err := describe(k, d.Owner, l)
	if err != nil {
		return err
	}
	if err := records.Claim(r); err != nil {
		return err
	}
	if err := d.move(k, l); err != nil {
		return errors.Join(err, d.Del(k))
	}
	return nil
}

// Made reports whether a record says that the attachment has, or had, the device.
func (d Device) Made(*kernel.Kernel) (bool, error) { return records.Has(d.Owner), nil }

// move is one message: the link is in the pod under its new name, or it is an
// error. With an error the link may be in the pod all the same: the kernel moves
// first, and refuses the name afterwards.
func (d Device) move(k *kernel.Kernel, l *kernel.Link) error {
	err := k.SetLink(kernel.Host, l, 0, 0,
		kernel.NetnsFD(k.PodFD()), kernel.Name(d.Owner.IfName), kernel.Alias(l.Name))
	k.Invalidate(kernel.Pod, d.Owner.IfName)
	if errors.Is(err, unix.EINVAL) {
		err = fmt.Errorf("%s%s cannot leave its network namespace: %w", l.Name, kindText(l), err)
		return cni.Hint(err, "loopback, bridges and some tunnels belong to the namespace that they were made in")
	}
	return err
}

func kindText(l *kernel.Link) string {
	switch {
	case l.Kind != "":
		return " (a " + l.Kind + ")"
	case l.Flags&unix.IFF_LOOPBACK != 0:
		return " (the loopback device)"
	}
	return ""
}

// Del moves the device back to the host. Where it is nowhere, it is success: it was
// virtual and died with the pod, or was pulled out.
func (d Device) Del(k *kernel.Kernel) error {
	r, err := records.Lift(d.Owner)
	switch {
	case err == nil:
		return r.returnToHost(k)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, state.ErrDamaged):
		return d.byAlias(k) // which without a record there is
	}
	return err
}

// byAlias moves back what upstream has moved, or whose record is lost: the
// alias tells its name and nothing tells more. A pod can make a virtual link that
// has all of it, but none that stands on one of the host's.
func (d Device) byAlias(k *kernel.Kernel) error {
	l, err := k.Link(kernel.Pod, d.Owner.IfName)
	if err != nil {
		return kernel.Gone(err)
	}
	if l.Alias == "" || cni.CheckLinkName("alias", l.Alias) != nil || !k.Owned(l) || claimed(k, l) {
		return nil // nobody knows where it belongs, or it is another pod's
	}
	if l.Kind != "" {
		if there, err := k.StandsOnHost(l); err != nil || !there {
			return err
		}
	}
	r := record{Owner: d.Owner, Name: l.Alias, Kind: l.Kind}
	_, err = r.moveToHost(k, kernel.Pod, l)
	return err
}

// claimed reports whether a record says that a link of the pod is somebody's.
func claimed(k *kernel.Kernel, l *kernel.Link) bool {
	list, _, _ := records.All()
	return slices.ContainsFunc(list, func(r record) bool { return r.PodID.Is(k.PodID()) && r.is(k, kernel.Pod, l) })
}

func (d Device) Check(k *kernel.Kernel) error {
	if d.Userspace {
		return nil
	}
	l, err := k.Link(kernel.Pod, d.Owner.IfName)
	if err != nil {
		return err
	}
	r, err := records.Read(d.Owner)
	if errors.Is(err, fs.ErrNotExist) {
		r, err = record{Name: l.Alias, Kind: l.Kind, MAC: l.MAC.String()}, nil // upstream has moved it
	}
	if err != nil {
		return err
	}
	mac := r.MAC
	if d.MAC != nil {
		mac = d.MAC.String()
	}
	switch {
	case !r.is(k, kernel.Pod, l):
		return fmt.Errorf("%s in the pod is another device than the host's %s", l.Name, r.Name)
	case l.MAC.String() != mac:
		return fmt.Errorf("its mac is %v, not %s", l.MAC, mac)
	case l.Alias != r.Name:
		return fmt.Errorf("its alias is %q, not its name on the host, %s", l.Alias, r.Name)
	}
	return nil
}
