// Package link is the facts about network interfaces: one file for each kind.
package link

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/route"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// remove deletes a link by name. One that is not there is success, and so is
// one whose namespace is gone.
func remove(k *kernel.Kernel, side kernel.Side, link string) error {
	l, err := k.Link(side, link)
	if err != nil {
		return kernel.Gone(err)
	}
	return k.RemoveLink(side, l)
}

// removeFromPod deletes the pod's link of that name where it is of the kind and
// the attachment's. In a namespace that is gone there is none.
func removeFromPod(k *kernel.Kernel, link, kind string) error {
	l, err := k.Link(kernel.Pod, link)
	if err != nil {
		return kernel.Gone(err)
	}
	if isKind(l, kind) != nil || !k.Owned(l) {
		return nil // it is not what the fact is about
	}
	return k.RemoveLink(kernel.Pod, l)
}

// find finds a link of a kind, and refuses one of that name of another kind.
func find(k *kernel.Kernel, side kernel.Side, link, kind string) (*kernel.Link, error) {
	l, err := k.Link(side, link)
	if err == nil {
		err = isKind(l, kind)
	}
	return l, err
}

// master is the bridge that a link is to be a port of, an empty one where it is to
// be none's.
func master(k *kernel.Kernel, side kernel.Side, bridge string) (*kernel.Link, error) {
	if bridge == "" {
		return &kernel.Link{}, nil
	}
	l, err := find(k, side, bridge, "bridge")
	if err != nil {
		return nil, fmt.Errorf("bridge in the %v's network namespace: %w", side, err)
	}
	return l, nil
}

// isKind refuses a link of another kind than the one that is wanted.
func isKind(l *kernel.Link, kind string) error {
	switch l.Kind {
	case kind:
		return nil
	case "":
		return fmt.Errorf("link %s is a device, not a %s", l.Name, kind)
	}
	return fmt.Errorf("link %s is a %s, not a %s", l.Name, l.Kind, kind)
}

// newAttrs are those of a link that is to be made. 0 and nil leave the MTU and
// the address to the kernel.
func newAttrs(name string, mtu int, mac net.HardwareAddr) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name, a.MTU, a.HardwareAddr = name, mtu, mac
	return a
}

// AutoMTU stands for the MTU of the interface that the host's default route
// goes out by.
const AutoMTU = -1

// mtu is the number that an MTU stands for.
func mtu(k *kernel.Kernel, n int) (int, error) {
	if n != AutoMTU {
		return n, nil
	}
	out, err := route.Default(k, kernel.Host)
	if err != nil {
		return 0, cni.Hint(err, "give mtu as a number, or the host a default route")
	}
	return out.MTU, nil
}

func mtuText(n int) string {
	if n == AutoMTU {
		return "mtu auto"
	}
	return fact.Word("mtu", n)
}

// Attachments lists the attachments that have a link on the host, for GC.
func Attachments(k *kernel.Kernel) ([]name.Attachment, error) {
	return k.Owners(func(at name.Attachment, l *kernel.Link) bool { return at.HostLink() == l.Name })
}

// DelTogether deletes the host's ends of many pairs in one wait of the kernel's.
func (Veth) DelTogether(k *kernel.Kernel, all []fact.Fact) {
	var links []*kernel.Link
	for _, f := range all {
		at := f.(Veth).Owner
		if l, err := k.Link(kernel.Host, at.HostLink()); err == nil && l.Alias == at.Alias() {
			links = append(links, l)
		}
	}
	_ = k.RemoveLinks(kernel.Host, links)
}

// Free reports an error where a link of that name is in the pod already.
func Free(k *kernel.Kernel, link string) error {
	_, err := k.Link(kernel.Pod, link)
	if err == nil {
		return cni.Taken("interface %s is in the pod's network namespace already", link)
	}
	return kernel.Gone(err)
}
