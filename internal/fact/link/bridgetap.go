package link

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
)

// BridgeTap is a port of one of the host's bridges that this process puts frames
// into, as a pod on that port would. It lives as long as its file is open here,
// so that nothing is left of it when this process dies.
type BridgeTap struct{ file *os.File }

// tapMAC is higher than any other, so that no bridge takes it for its own
// (br_stp_recalculate_bridge_id takes the lowest).
var tapMAC = net.HardwareAddr{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff}

// OpenBridgeTap makes a port of a bridge, in one of its VLANs where access is not 0.
func OpenBridgeTap(k *kernel.Kernel, bridge string, access uint16) (*BridgeTap, error) {
	master, err := find(k, kernel.Host, bridge, "bridge")
	if err != nil {
		return nil, err
	}
	tun, err := openTun()
	if err != nil {
		return nil, err
	}
	p := &BridgeTap{tun}
	if err := p.into(k, master, access); err != nil {
		p.Close()
		return nil, fmt.Errorf("a port of bridge %s to send from: %w", bridge, err)
	}
	return p, nil
}

func (p *BridgeTap) into(k *kernel.Kernel, master *kernel.Link, access uint16) error {
	name, err := setIff(p.file, "", unix.IFF_TAP|unix.IFF_NO_PI, "")
	if err != nil {
		return err
	}
	k.Invalidate(kernel.Host, name) // it may be a former port's
	l, err := k.Link(kernel.Host, name)
	if err != nil {
		return err
	}
	// The smallest MTU of its ports is a bridge's.
	if err := k.SetLink(kernel.Host, l, 0, 0, kernel.MTU(master.MTU), kernel.MAC(tapMAC)); err != nil {
		return err
	}
	if err := k.SetUp(kernel.Host, l, kernel.Master(master.Index)); err != nil {
		return err
	}
	if access == 0 {
		return nil
	}
	return VLANs{Link: l.Name, Bridge: master.Name, Access: access}.Add(k)
}

// Send puts an Ethernet frame into the bridge.
func (p *BridgeTap) Send(frame []byte) error {
	if _, err := p.file.Write(frame); err != nil {
		return fmt.Errorf("send into the bridge: %w", err)
	}
	return nil
}

// Close takes the port out.
func (p *BridgeTap) Close() { _ = p.file.Close() }

// AccessVLAN is the VLAN that a bridge's port's untagged frames are in, 0 where
// the bridge does not filter VLANs.
func AccessVLAN(k *kernel.Kernel, bridge, port *kernel.Link) (uint16, error) {
	if !filters(bridge) {
		return 0, nil
	}
	have, err := vlansOf(k, port)
	for id, vlan := range have {
		if vlan.PortVID() {
			return id, err
		}
	}
	return 0, err
}

// Frame is an Ethernet frame.
func Frame(from, to net.HardwareAddr, protocol uint16, packet []byte) []byte {
	return bytes.Join([][]byte{to, from, binary.BigEndian.AppendUint16(nil, protocol), packet}, nil)
}
