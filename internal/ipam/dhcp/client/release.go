package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact/link"
	"github.com/catena-cni/catena/internal/kernel"
)

// Segment is the host's own way to the pod's segment, for the release of a lease
// whose pod is gone. Where the host has none, Index and MAC are all.
type Segment struct {
	// Index is the number of the pod's link in the pod, and MAC the address that
	// it had last.
	Index int    `json:"index"`
	MAC   string `json:"mac"`
	// Bridge is the bridge that the pod's link is a port of, and VLAN the port's
	// VLAN there.
	Bridge string `json:"bridge,omitempty"`
	VLAN   uint16 `json:"vlan,omitempty"`
	// Master is the host's link that the pod's lies on.
	Master string `json:"master,omitempty"`
}

// SegmentOf finds the segment of a pod's link.
func SegmentOf(k *kernel.Kernel, l *kernel.Link) (Segment, error) {
	own := Segment{Index: l.Index, MAC: l.MAC.String()}
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

// releaseMessage is the last message about a lease. No server answers it.
type releaseMessage struct {
	protocol     uint16 // unix.ETH_P_IP or unix.ETH_P_IPV6
	from, to     netip.AddrPort
	mac, destMAC net.HardwareAddr
	payload      []byte
}

// send sends the message from the pod's interface, or from the host where that is
// gone.
func (m releaseMessage) send(k *kernel.Kernel, name string, s Segment) error {
	l, err := k.Link(kernel.Pod, name)
	if err == nil && l.Index == s.Index && l.Up() {
		if err = m.sendOnLink(k, kernel.Pod, l); err == nil {
			return nil
		}
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	onSegment := m.sendOnSegment(k, s)
	if onSegment == nil {
		return nil
	}
	// The server looks at what a message says, not at where it comes from.
	if routed := m.sendFromHost(); routed != nil {
		return errors.Join(err, onSegment, routed)
	}
	return nil
}

func (m releaseMessage) sendOnLink(k *kernel.Kernel, side kernel.Side, l *kernel.Link) error {
	c, err := openPackets(k, side, l, int(m.protocol))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.WriteTo(m.packet(), &packet.Addr{HardwareAddr: m.destMAC})
	return err
}

func (m releaseMessage) sendOnSegment(k *kernel.Kernel, s Segment) error {
	if s.Bridge != "" {
		port, err := link.OpenBridgeTap(k, s.Bridge, s.VLAN)
		if err != nil {
			return err
		}
		defer port.Close()
		return port.Send(link.Frame(m.mac, m.destMAC, m.protocol, m.packet()))
	}
	if s.Master == "" {
		return errors.New("the pod's link has no other end on the host")
	}
	l, err := k.Link(kernel.Host, s.Master)
	if err != nil {
		return err
	}
	return m.sendOnLink(k, kernel.Host, l)
}

// sendFromHost sends the message as the host's routes go.
func (m releaseMessage) sendFromHost() error {
	if m.to.Addr().IsMulticast() {
		return fmt.Errorf("there is no way to %v but by the pod's link", m.to.Addr())
	}
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(m.to))
	if err != nil {
		return fmt.Errorf("send from the host: %w", err)
	}
	defer c.Close()
	if _, err := c.Write(m.payload); err != nil {
		return fmt.Errorf("send from the host: %w", err)
	}
	return nil
}

// packet is the message with its UDP and IP headers (RFC 768, RFC 791, RFC 8200).
// They are built here because no socket sends from an address that its namespace
// does not have, and nclient4's do so for IPv4 alone.
func (m releaseMessage) packet() []byte {
	const udpHeader, ip4Header, hops = 8, 20, 64
	from, to := m.from.Addr().AsSlice(), m.to.Addr().AsSlice()
	length := binary.BigEndian.AppendUint16(nil, uint16(udpHeader+len(m.payload)))
	udp := binary.BigEndian.AppendUint16(nil, m.from.Port())
	udp = binary.BigEndian.AppendUint16(udp, m.to.Port())
	udp = slices.Concat(udp, length, []byte{0, 0}, m.payload)
	sum := checksum(slices.Concat(from, to, length, []byte{0, unix.IPPROTO_UDP}, udp))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], sum)
	if m.protocol == unix.ETH_P_IPV6 {
		return slices.Concat([]byte{6 << 4, 0, 0, 0}, length, []byte{unix.IPPROTO_UDP, hops}, from, to, udp)
	}
	ip := slices.Concat([]byte{4<<4 | ip4Header/4, 0, 0, 0, 0, 0, 0, 0, hops, unix.IPPROTO_UDP, 0, 0}, from, to)
	binary.BigEndian.PutUint16(ip[2:], uint16(ip4Header+len(udp)))
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	return append(ip, udp...)
}

// checksum is the Internet's (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) > 0 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
