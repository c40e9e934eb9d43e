package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/sysctl"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// Veth is a pair of links between the host and the pod. It is born in place:
// the pod's end in the pod's namespace, the host's end in its bridge where it
// has one. The host's end comes up, the pod's end stays down.
type Veth struct {
	Owner name.Attachment
	// MAC is the pod's end's address; one made of the attachment where nil.
	MAC net.HardwareAddr
	// MTU of both ends in bytes, or AutoMTU. Where it is 0, it is the bridge's,
	// or else the kernel's default.
	MTU int
	// Bridge names the host's bridge that the host's end is a port of.
	Bridge string
}

func (v Veth) String() string {
	return fact.Text(fmt.Sprintf("link host %s <-> pod %s mac %v", v.Owner.HostLink(), v.Owner.IfName, v.mac()), mtuText(v.MTU), fact.Word("bridge", v.Bridge))
}

func (v Veth) mac() net.HardwareAddr {
	if v.MAC != nil {
		return v.MAC
	}
	return v.Owner.MAC("pod")
}

// Add makes the pair in one message. The steps that follow can only fail where
// the pair is deleted at the same time, or no answer comes; then Del takes it away.
func (v Veth) Add(k *kernel.Kernel) error {
	if !k.Has(kernel.Pod) {
		return kernel.ErrNoPod
	}
	size, err := mtu(k, v.MTU)
	if err != nil {
		return err
	}
	bridge, err := master(k, kernel.Host, v.Bridge)
	if err != nil {
		return err
	}
	size = cmp.Or(size, bridge.MTU)
	err = v.create(k, size, bridge.Index)
	if errors.Is(err, fs.ErrExist) && v.outlived(k) {
		if err = remove(k, kernel.Host, v.Owner.HostLink()); err == nil {
			err = v.create(k, size, bridge.Index)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return v.taken(k, err)
	}
	if err != nil {
		return err
	}
	return v.bringUp(k)
}

// bringUp names the host's end's owner and brings it up.
func (v Veth) bringUp(k *kernel.Kernel) error {
	l, label := &kernel.Link{Name: v.Owner.HostLink()}, kernel.Grown(v.Owner.Alias())
	if v.Bridge != "" {
		return setUp(k, kernel.Host, l, noAddress(), label...)
	}
	if err := sysctl.TowardsPods(l.Name).Add(k); err != nil {
		return err
	}
	return k.SetUp(kernel.Host, l, label...)
}

// outlived reports whether the host's end is of a pod that is gone, for which
// nobody said DEL, such as one that starts again.
func (v Veth) outlived(k *kernel.Kernel) bool {
	l, err := k.Link(kernel.Host, v.Owner.HostLink())
	if err != nil {
		return errors.Is(err, fs.ErrNotExist) // it went meanwhile
	}
	if l.Alias != "" && l.Alias != v.Owner.Alias() || !l.ParentAway {
		return false
	}
	return k.Await(context.Background(), kernel.Host, unix.RTNLGRP_NSID, kernel.EndWait, func() (bool, error) { return k.ParentGone(kernel.Host, l), nil }) == nil
}

// taken tells which of the two names was there already.
func (v Veth) taken(k *kernel.Kernel, err error) error {
	if taken := Free(k, v.Owner.IfName); taken != nil {
		return taken
	}
	return fmt.Errorf("interface %s of %s is on the host already: %w", v.Owner.HostLink(), v.Owner, err)
}

// Del deletes the pair by the host's end, whose name is the attachment's. A
// pair that another program made for this attachment is found by the pod's end,
// where that is provably the attachment's.
func (v Veth) Del(k *kernel.Kernel) error {
	l, err := k.Link(kernel.Host, v.Owner.HostLink())
	switch {
	case err == nil && l.Alias != "" && l.Alias != v.Owner.Alias():
		return fmt.Errorf("interface %s is %s's, by its alias: it stays", l.Name, l.Alias)
	case err == nil:
		k.Invalidate(kernel.Pod, v.Owner.IfName)
		return k.RemoveLink(kernel.Host, l)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return removeFromPod(k, v.Owner.IfName, "veth")
}

// Check looks at both ends. What a later plugin of a chain may change, the
// pod's end's address and MTU, is not this fact's any more.
func (v Veth) Check(k *kernel.Kernel) error {
	pod, err := find(k, kernel.Pod, v.Owner.IfName, "veth")
	if err != nil {
		return fmt.Errorf("pod: %w", err)
	}
	host, err := k.Link(kernel.Host, v.Owner.HostLink())
	if errors.Is(err, fs.ErrNotExist) {
		if peer := hostPeer(k, pod); peer.Index != 0 {
			host, err = peer, nil // another program has made the pair
		}
	}
	if err != nil {
		return fmt.Errorf("host: %w", err)
	}
	bridge, err := master(k, kernel.Host, v.Bridge)
	switch {
	case err != nil:
		return err
	case host.Parent != pod.Index || pod.Parent != host.Index:
		return fmt.Errorf("host's %s and pod's %s are not the two ends of one pair", host.Name, v.Owner.IfName)
	case !host.Up():
		return fmt.Errorf("host's %s is down", host.Name)
	case v.Bridge != "" && host.Master != bridge.Index:
		return fmt.Errorf("host's %s is no port of %s", host.Name, v.Bridge)
	}
	return nil
}
