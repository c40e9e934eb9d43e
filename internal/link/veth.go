package link

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"

	"github.com/vishvananda/netlink"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/name"
	"github.com/catena-cni/catena/internal/sysctl"
)

// Veth is a pair of links between the host and the pod. It is born in place:
// the pod's end in the pod's namespace, the host's end in its bridge where it
// has one. The host's end comes up, the pod's end stays down.
type Veth struct {
	Owner name.Attachment
	Pod   string // name of the pod's end
	// MAC is the pod's end's address; one made of the attachment where nil.
	MAC net.HardwareAddr
	// MTU of both ends in bytes. Where it is 0, it is the bridge's, or else the
	// kernel's default.
	MTU int
	// Bridge names the host's bridge that the host's end is a port of.
	Bridge string
}

func (v Veth) String() string {
	s := fmt.Sprintf("link host %s <-> pod %s mac %v", v.Owner.HostLink(), v.Pod, v.mac())
	if v.MTU != 0 {
		s += fmt.Sprintf(" mtu %d", v.MTU)
	}
	if v.Bridge != "" {
		s += " bridge " + v.Bridge
	}
	return s
}

func (v Veth) mac() net.HardwareAddr {
	if v.MAC != nil {
		return v.MAC
	}
	return v.Owner.MAC("pod")
}

// Add makes the pair in one message. The rest are steps that can only fail
// where the pair is deleted at the same time; then nothing is left either.
func (v Veth) Add(k *kernel.Kernel) error {
	h, err := k.NL(kernel.Host)
	if err != nil {
		return err
	}
	if !k.Has(kernel.Pod) {
		return kernel.ErrNoPod
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = v.Owner.HostLink(), v.MTU, v.Owner.MAC("host")
	if v.Bridge != "" {
		bridge, err := k.Link(kernel.Host, v.Bridge)
		if err != nil {
			return err
		}
		attrs.MasterIndex = bridge.Attrs().Index
		if attrs.MTU == 0 {
			attrs.MTU = bridge.Attrs().MTU
		}
	}
	pair := &netlink.Veth{
		LinkAttrs:        attrs,
		PeerName:         v.Pod,
		PeerHardwareAddr: v.mac(),
		PeerMTU:          uint32(attrs.MTU),
		PeerNamespace:    netlink.NsFd(k.PodFD()),
	}
	if err := h.LinkAdd(pair); err != nil {
		return v.explain(k, err)
	}
	if err := v.raise(k, h, pair); err != nil {
		return errors.Join(err, remove(k, kernel.Host, attrs.Name))
	}
	return nil
}

// raise names the host's end's owner and brings it up. A pod must not be able
// to change the host's routes by router advertisements, so those are refused
// before the link is up.
func (v Veth) raise(k *kernel.Kernel, h *netlink.Handle, l netlink.Link) error {
	if err := h.LinkSetAlias(l, v.Owner.Alias()); err != nil {
		return fmt.Errorf("alias: %w", err)
	}
	if err := sysctl.RefuseRouterAdvertisements(v.Owner.HostLink()).Add(k); err != nil {
		return err
	}
	if err := h.LinkSetUp(l); err != nil {
		return fmt.Errorf("up: %w", err)
	}
	return nil
}

// explain tells which of the two names was taken, or which value the kernel
// did not like.
func (v Veth) explain(k *kernel.Kernel, err error) error {
	if !errors.Is(err, fs.ErrExist) {
		return kernel.Cause(err)
	}
	if taken := Free(k, kernel.Pod, v.Pod); taken != nil {
		return taken
	}
	return fmt.Errorf("interface %s, which belongs to %s, is on the host already: %w", v.Owner.HostLink(), v.Owner, err)
}

// Del deletes the pair by the host's end, whose name is the attachment's. A
// pair that another program made for this attachment is found by the pod's end.
func (v Veth) Del(k *kernel.Kernel) error {
	l, err := k.Link(kernel.Host, v.Owner.HostLink())
	switch {
	case err == nil && l.Attrs().Alias != "" && l.Attrs().Alias != v.Owner.Alias():
		return fmt.Errorf("interface %s is %s's, by its alias: it stays", l.Attrs().Name, l.Attrs().Alias)
	case err == nil:
		k.Forget(kernel.Pod, v.Pod)
		return remove(k, kernel.Host, v.Owner.HostLink())
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return removePeer(k, v.Pod)
}

// removePeer deletes a veth by its name in the pod, where there is one.
func removePeer(k *kernel.Kernel, link string) error {
	if !k.Has(kernel.Pod) {
		return nil
	}
	l, err := k.Link(kernel.Pod, link)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if isKind(l, "veth") != nil {
		return nil // it is not what this fact is about
	}
	return remove(k, kernel.Pod, link)
}

// Check looks at both ends. What a later plugin of a chain may change, the
// pod's end's address and MTU, is not this fact's any more.
func (v Veth) Check(k *kernel.Kernel) error {
	pod, err := k.Link(kernel.Pod, v.Pod)
	if err != nil {
		return fmt.Errorf("pod: %w", err)
	}
	if err := isKind(pod, "veth"); err != nil {
		return fmt.Errorf("pod: %w", err)
	}
	host, err := v.hostEnd(k, pod)
	if err != nil {
		return fmt.Errorf("host: %w", err)
	}
	if host.Attrs().ParentIndex != pod.Attrs().Index || pod.Attrs().ParentIndex != host.Attrs().Index {
		return fmt.Errorf("host's %s and pod's %s are not the two ends of one pair", host.Attrs().Name, v.Pod)
	}
	if host.Attrs().Flags&net.FlagUp == 0 {
		return fmt.Errorf("host's %s is down", host.Attrs().Name)
	}
	return v.checkPort(k, host)
}

// hostEnd finds the host's end by its name, or, where another program made the
// pair, as the pod's end's peer.
func (v Veth) hostEnd(k *kernel.Kernel, pod netlink.Link) (netlink.Link, error) {
	host, err := k.Link(kernel.Host, v.Owner.HostLink())
	if !errors.Is(err, fs.ErrNotExist) {
		return host, err
	}
	h, herr := k.NL(kernel.Host)
	if herr != nil {
		return nil, herr
	}
	peer, perr := h.LinkByIndex(pod.Attrs().ParentIndex)
	if perr != nil || isKind(peer, "veth") != nil {
		return nil, err
	}
	return peer, nil
}

func (v Veth) checkPort(k *kernel.Kernel, host netlink.Link) error {
	if v.Bridge == "" {
		return nil
	}
	bridge, err := k.Link(kernel.Host, v.Bridge)
	if err != nil {
		return err
	}
	if host.Attrs().MasterIndex != bridge.Attrs().Index {
		return fmt.Errorf("host's %s is no port of %s", host.Attrs().Name, v.Bridge)
	}
	return nil
}

// HasMAC is the fact that a link still has an address that a result reported.
type HasMAC struct {
	Side kernel.Side
	Link string
	MAC  net.HardwareAddr
}

func (m HasMAC) String() string { return fmt.Sprintf("mac  %v %s %v", m.Side, m.Link, m.MAC) }

// Add has nothing to do: the address came with the link.
func (m HasMAC) Add(*kernel.Kernel) error { return nil }

// Del has nothing to do: the address goes with the link.
func (m HasMAC) Del(*kernel.Kernel) error { return nil }

// Check compares the address.
func (m HasMAC) Check(k *kernel.Kernel) error {
	l, err := k.Link(m.Side, m.Link)
	if err != nil {
		return err
	}
	if !bytes.Equal(l.Attrs().HardwareAddr, m.MAC) {
		return fmt.Errorf("it is %v", l.Attrs().HardwareAddr)
	}
	return nil
}
