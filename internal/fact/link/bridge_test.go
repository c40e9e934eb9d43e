package link

import (
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestExistingBridge is put right, not taken as it is.
func TestExistingBridge(t *testing.T) {
	t.Parallel()
	s := kerneltest.New(t)
	s.Run("ip link add br0 type bridge; ip link add low type veth peer name low1; ip link set low address 00:00:00:00:00:02")
	k := s.Kernel()
	on := true
	b := Bridge{Name: "br0", MTU: 1400, Promisc: &on}
	if err := b.Add(k); err != nil {
		t.Fatal(err)
	}
	if err := b.Check(s.Kernel()); err != nil {
		t.Error(err)
	}
	mac := s.Run("cat /sys/class/net/br0/address")
	s.Run("ip link set low master br0; ip link set low up")
	if now := s.Run("cat /sys/class/net/br0/address"); now != mac {
		t.Errorf("its address was %s, and is %s since a port came", mac, now)
	}
	off := false
	b.Promisc = &off
	if err := b.Add(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	if text := s.Run("ip -d link show br0"); strings.Contains(text, "PROMISC") || !strings.Contains(text, "mtu 1400") {
		t.Errorf("it is %s", text)
	}
}

// TestNewBridge has an address that stays, and hears no routers behind it.
func TestNewBridge(t *testing.T) {
	t.Parallel()
	s := kerneltest.New(t)
	if err := (Bridge{Name: "br0"}).Add(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	if got := s.Run("cat /sys/class/net/br0/addr_assign_type; sysctl -n net.ipv6.conf.br0.accept_ra"); got != "3\n0\n" {
		t.Errorf("%q", got)
	}
}

// TestNotABridge: a link of that name and another kind is left alone.
func TestNotABridge(t *testing.T) {
	t.Parallel()
	s := kerneltest.New(t)
	s.Run("ip link add br0 type veth peer name x")
	before := s.Text()
	if err := (Bridge{Name: "br0", MTU: 1400}).Add(s.Kernel()); err == nil || !strings.Contains(err.Error(), "veth") {
		t.Errorf("%v", err)
	}
	s.Same("a refused bridge", before, s.Text())
}
