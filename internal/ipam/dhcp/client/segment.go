package client

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact/link"
	"github.com/catena-cni/catena/internal/kernel"
)

// Segment is the host's own way to where a pod's interface is plugged in: what
// is left to speak over when the pod has gone before its lease was given back.
// Where the host has none it has the link's number alone.
type Segment struct {
	// Index is the number of the pod's link in the pod.
	Index int `json:"index"`
	// Bridge is the bridge that the pod's link is a port of, and VLAN the port's
	// VLAN there.
	Bridge string `json:"bridge,omitempty"`
	VLAN   uint16 `json:"vlan,omitempty"`
	// Master is the link that the pod's lies on.
	Master string `json:"master,omitempty"`
}

// SegmentOf finds the segment of a pod's link.
func SegmentOf(k *kernel.Kernel, l *kernel.Link) (Segment, error) {
	own := Segment{Index: l.Index}
	if l.Parent == 0 || !l.ParentAway {
		return own, nil
	}
	host, err := k.LinkAt(kernel.Host, l.Parent)
	switch {
	case err != nil:
		return own, nil // it is in a third namespace
	case l.Kind != "veth":
		own.Master = host.Name
		return own, nil
	case host.Parent != l.Index || host.Master == 0:
		return own, nil
	}
	bridge, err := k.LinkAt(kernel.Host, host.Master)
	if err != nil || bridge.Kind != "bridge" {
		return own, err
	}
	own.Bridge = bridge.Name
	own.VLAN, err = link.AccessVLAN(k, bridge, host)
	return own, err
}

// farewell is a last message: nobody answers it.
type farewell struct {
	datagram
	mac net.HardwareAddr // of the one who says it
	to  net.HardwareAddr // of the server, or nil
}

func (f farewell) protocol() uint16 {
	if f.datagram.from.Addr().Is6() {
		return unix.ETH_P_IPV6
	}
	return unix.ETH_P_IP
}

func (f farewell) whom() net.HardwareAddr {
	if len(f.to) == 6 {
		return f.to
	}
	return broadcastMAC
}

// send says it from the pod's interface, or from the host where that is gone.
func (f farewell) send(k *kernel.Kernel, name string, s Segment) error {
	err := kernel.ErrNoPod
	if k.Has(kernel.Pod) {
		err = f.fromPod(k, name, s.Index)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = f.fromHost(k, s)
	}
	return err
}

// fromPod sends it from the pod's interface. One that is gone, or another
// one's by now, is os.ErrNotExist.
func (f farewell) fromPod(k *kernel.Kernel, name string, index int) error {
	l, err := k.Link(kernel.Pod, name)
	if err != nil {
		return err
	}
	if l.Index != index || !l.Up() {
		return fmt.Errorf("%s is not as it was: %w", name, kernel.ErrNoPod)
	}
	return f.overLink(k, kernel.Pod, l)
}

func (f farewell) overLink(k *kernel.Kernel, side kernel.Side, l *kernel.Link) error {
	s, err := openLink(k, side, l, f.protocol(), nothing)
	if err != nil {
		return err
	}
	defer s.close()
	return s.send(f.packet(), nil, linkAddress(l, f.protocol(), f.whom()))
}

// nothing is the filter of a socket that only sends.
var nothing = []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}

// fromHost sends it on the pod's segment, or where the host has no foot in that
// the way that the host's routes go.
func (f farewell) fromHost(k *kernel.Kernel, s Segment) error {
	var err error
	switch {
	case s.Bridge != "":
		err = f.intoBridge(k, s)
	case s.Master != "":
		var l *kernel.Link
		if l, err = k.Link(kernel.Host, s.Master); err == nil {
			err = f.overLink(k, kernel.Host, l)
		}
	default:
		err = errors.New("the pod's link has no other end on the host")
	}
	if err == nil {
		return nil
	}
	if rerr := f.routed(); rerr != nil {
		return errors.Join(err, rerr)
	}
	return nil
}

func (f farewell) intoBridge(k *kernel.Kernel, s Segment) error {
	plug, err := link.OpenPlug(k, s.Bridge, s.VLAN)
	if err != nil {
		return err
	}
	defer plug.Close()
	return plug.Send(link.Frame(f.mac, f.whom(), f.protocol(), f.packet()))
}

// routed sends it from the host. The server looks at what it says, not at where
// it comes from.
func (f farewell) routed() error {
	to := f.datagram.to
	if to.Addr().IsMulticast() {
		return fmt.Errorf("there is no way to %v but by the pod's link", to.Addr())
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to.Addr(), to.Port())))
	if err != nil {
		return fmt.Errorf("send from the host: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write(f.payload); err != nil {
		return fmt.Errorf("send from the host: %w", err)
	}
	return nil
}
