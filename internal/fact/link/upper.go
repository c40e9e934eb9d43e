package link

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/route"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// Upper is what the links have in common that lie on another one, their master:
// macvlan, ipvlan, vlan. Such a link is in the pod, and born there.
type Upper struct {
	Link string
	// Master is the link below. Where it is empty, it is the one that the
	// default route goes out by.
	Master string
	// Unknown says that CHECK cannot tell the master.
	Unknown bool
	// InPod says that the master is in the pod too.
	InPod bool
	// MTU in bytes, 0 for the master's.
	MTU int
	// MAC is nil for the kernel's choice.
	MAC net.HardwareAddr
}

func (u Upper) text(kind string) string {
	return fact.Text("link pod", u.Link, kind, "on", u.side().String(), cmp.Or(u.Master, "default route's link"), fact.Word("mac", u.MAC), mtuText(u.MTU))
}

func (u Upper) side() kernel.Side {
	if u.InPod {
		return kernel.Pod
	}
	return kernel.Host
}

// Below finds the master.
func (u Upper) Below(k *kernel.Kernel) (*kernel.Link, error) {
	master := u.Master
	if master == "" {
		out, err := route.Default(k, u.side())
		if err != nil {
			return nil, cni.Hint(fmt.Errorf("master is not given, and %w", err), "name the master in the configuration")
		}
		master = out.Link
	}
	l, err := k.Link(u.side(), master)
	if err != nil {
		return nil, fmt.Errorf("master: %w", err)
	}
	return l, nil
}

// add makes the link in one message.
func (u Upper) add(k *kernel.Kernel, of func(netlink.LinkAttrs) netlink.Link) error {
	if !k.Has(kernel.Pod) {
		return kernel.ErrNoPod
	}
	master, err := u.Below(k)
	if err != nil {
		return err
	}
	if u.MTU > master.MTU {
		return fmt.Errorf("mtu %d is more than %d, the mtu of its master %s", u.MTU, master.MTU, master.Name)
	}
	attrs := newAttrs(u.Link, u.MTU, u.MAC)
	attrs.ParentIndex = master.Index
	if !u.InPod {
		attrs.Namespace = netlink.NsFd(k.PodFD())
	}
	kind := of(attrs).Type()
	create := func() error {
		err := k.Create(u.side(), of(attrs))
		if errors.Is(err, fs.ErrExist) && !u.InPod && Free(k, u.Link) == nil {
			err = u.renamed(k, of(attrs))
		}
		return err
	}
	err = create()
	if errors.Is(err, fs.ErrExist) && kind == "vlan" && !u.InPod && Free(k, u.Link) == nil {
		err = k.Outlast(unix.EEXIST, create)
	}
	switch {
	case errors.Is(err, unix.EBUSY):
		return u.busy(k, master, kind, err)
	case errors.Is(err, fs.ErrExist):
		return u.taken(k, master, kind, err)
	}
	return err
}

// renamed makes the link under a name of its own and then gives it the wanted
// one. Kernels before 6.14 refuse a name in the pod that the host has too, as
// eth0 is in many places.
func (u Upper) renamed(k *kernel.Kernel, wanted netlink.Link) error {
	own := "tmp" + name.Digits("upper\x00" + k.PodPath() + "\x00" + u.Link)[:12]
	wanted.Attrs().Name = own
	err := k.Create(kernel.Host, wanted)
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	var l *kernel.Link
	if err == nil {
		l, err = k.Link(kernel.Pod, own)
	}
	if err == nil {
		err = k.SetLink(kernel.Pod, l, 0, 0, kernel.Name(u.Link))
	}
	if err != nil {
		return errors.Join(err, remove(k, kernel.Pod, own))
	}
	return nil
}

// taken tells an interface of that name in the pod from what else is there
// already, which for a VLAN is the VLAN itself.
func (u Upper) taken(k *kernel.Kernel, master *kernel.Link, kind string, err error) error {
	if there := Free(k, u.Link); there != nil {
		return there
	}
	if kind != "vlan" {
		return err
	}
	err = fmt.Errorf("%s has a link for this VLAN already, maybe in another pod: %w", master.Name, err)
	return cni.Hint(err, "a VLAN link can be in one pod alone; for several pods on one VLAN make the VLAN link on the host, and macvlan or bridge links on it")
}

// busy tells who has the master. A link can be a bridge's port, or carry
// macvlans, or ipvlans, and only one of these.
func (u Upper) busy(k *kernel.Kernel, master *kernel.Link, kind string, err error) error {
	if master.Master != 0 {
		holder, lerr := k.LinkAt(u.side(), master.Master)
		if lerr == nil {
			return fmt.Errorf("%s is a port of %s (a %s), so it cannot carry a %s: %w", master.Name, holder.Name, holder.Kind, kind, err)
		}
	}
	links, lerr := k.Links(u.side())
	if lerr == nil {
		for _, l := range links {
			if l.Parent == master.Index && l.Kind != kind && (l.Kind == "macvlan" || l.Kind == "macvtap" || l.Kind == "ipvlan") {
				return fmt.Errorf("%s carries %s (a %s), so it cannot carry a %s: %w", master.Name, l.Name, l.Kind, kind, err)
			}
		}
	}
	err = fmt.Errorf("%s carries links of another kind than %s, maybe in the pods, or is one's in passthru mode: %w", master.Name, kind, err)
	return cni.Hint(err, "all networks on one master have to use the same of macvlan and ipvlan")
}

// check looks for the link, and whether it lies on its master, as far as that
// can be seen: from the pod the host's links are numbers.
func (u Upper) check(k *kernel.Kernel, kind string) (*kernel.Link, error) {
	l, err := find(k, kernel.Pod, u.Link, kind)
	if err != nil || u.Unknown {
		return l, err
	}
	master, err := u.Below(k)
	if err != nil {
		return nil, err
	}
	if l.Parent != master.Index {
		return nil, fmt.Errorf("it does not lie on %s", master.Name)
	}
	return l, nil
}
