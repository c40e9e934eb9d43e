package link

import (
	"bytes"
	"net"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/kerneltest"
)

var (
	sender = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	frame  = Frame(sender, net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 0x88b5, bytes.Repeat([]byte("x"), 46)) // for local experiments (IEEE 802)
)

// forwarding waits for ports, whose carrier the kernel looks at later on: until
// then a bridge sends them nothing.
func forwarding(ports ...string) string {
	return "; for p in " + strings.Join(ports, " ") + "; do until [ $(cat /sys/class/net/$p/brport/state) = 3 ]; do sleep 0.01; done; done"
}

// TestBridgeTap: what is sent comes out of the bridge's ports as if a pod had sent
// it, and the bridge is as before when the port is gone.
func TestBridgeTap(t *testing.T) {
	t.Parallel()
	kerneltest.Needs(t, "tun")
	s := kerneltest.New(t)
	s.Run("ip link add br0 type bridge; ip link add port type veth peer name far; ip link set port mtu 9000; ip link set far mtu 9000; ip link set port master br0; for l in br0 port far; do ip link set $l up; done" + forwarding("port"))
	before, k := s.Text()+s.Run("cat /sys/class/net/br0/address"), s.Kernel()
	ear := s.Listen()
	p, err := OpenBridgeTap(k, "br0", 0)
	if err != nil {
		t.Fatal(err)
	}
	if now := s.Run("cat /sys/class/net/br0/mtu"); now != "9000\n" {
		t.Errorf("the bridge's MTU became %s", now)
	}
	if err := p.Send(frame); err != nil {
		t.Error(err)
	}
	ear.Hears("far", frame)
	p.Close()
	// Another test's program that is being started has the file too until it runs.
	s.Run("until [ \"$(ls /sys/class/net/br0/brif)\" = port ]; do sleep 0.01; done")
	s.Same("closed", before, s.Text()+s.Run("cat /sys/class/net/br0/address"))
	if _, err := OpenBridgeTap(s.Kernel(), "port", 0); err == nil {
		t.Error("a veth was taken for a bridge")
	}
}

// TestBridgeTapVLAN: a port in a VLAN is heard there, and a pod's VLAN is found.
func TestBridgeTapVLAN(t *testing.T) {
	t.Parallel()
	kerneltest.Needs(t, "vlan filtering")
	s := kerneltest.New(t)
	s.Run("ip link add br0 type bridge vlan_filtering 1; ip link set br0 up; for v in 7 8; do ip link add port$v type veth peer name far$v; ip link set port$v master br0; ip link set port$v up; ip link set far$v up; done" + forwarding("port7", "port8"))
	for _, access := range []uint16{7, 8} {
		port := map[uint16]string{7: "port7", 8: "port8"}[access]
		if err := (VLANs{Link: port, Bridge: "br0", Access: access}).Add(s.Kernel()); err != nil {
			t.Fatal(err)
		}
		k := s.Kernel()
		bridge, err := k.Link(kernel.Host, "br0")
		if err != nil {
			t.Fatal(err)
		}
		l, err := k.Link(kernel.Host, port)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := AccessVLAN(k, bridge, l); got != access || err != nil {
			t.Errorf("%s is in VLAN %d: %v", port, got, err)
		}
	}
	ear := s.Listen()
	p, err := OpenBridgeTap(s.Kernel(), "br0", 7)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for range 2 { // what the first one did is known when the second comes
		if err := p.Send(frame); err != nil {
			t.Fatal(err)
		}
		if heard := ear.Hears("far7", frame); heard["far8"] {
			t.Error("another VLAN's port heard it")
		}
	}
}
