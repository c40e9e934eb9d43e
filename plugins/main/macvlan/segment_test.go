package main

import (
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plugin"
	"github.com/catena-cni/catena/internal/plugintest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// TestNeighboursAreTold: an address that moves here is reachable at once.
func TestNeighboursAreTold(t *testing.T) {
	t.Parallel()
	s := kerneltest.New(t)
	s.Run(kerneltest.Segment)
	ear := s.Listen()
	if err := plugintest.Plan(t, macvlan, "c1", Conf{OnMaster: plugin.OnMaster{Master: "up0"}}, "10.1.2.3/24", "fd00:1:2::3/64").Add(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	ear.Announced("10.1.2.3", "fd00:1:2::3")
}

// TestDuplicate: an address that somebody else on the segment has is refused,
// and nothing is left.
func TestDuplicate(t *testing.T) {
	t.Parallel()
	s := kerneltest.New(t)
	s.Run(kerneltest.Segment)
	// The kernel makes the address usable in its own time.
	s.Run("ip addr add fd00:1:2::3/64 dev up1 nodad; until ip -6 route show table local | grep -q fd00:1:2::3; do sleep 0.01; done")
	before := s.Text()
	err := plugintest.Plan(t, macvlan, "c1", Conf{OnMaster: plugin.OnMaster{Master: "up0"}}, "fd00:1:2::3/64").Add(s.Kernel())
	if err == nil || !strings.Contains(err.Error(), "somebody else on the segment") {
		t.Errorf("%v", err)
	}
	s.Same("a refused address", before, s.Text())
}

// TestMasterGone: DEL does not mind.
func TestMasterGone(t *testing.T) {
	t.Parallel()
	s := kerneltest.New(t)
	s.Run(kerneltest.Segment)
	p := plugintest.Plan(t, macvlan, "c1", Conf{OnMaster: plugin.OnMaster{Master: "up0"}}, "10.1.2.3/24")
	if err := p.Add(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	s.Run("ip link del up0")
	if err := p.Del(s.Kernel()); err != nil {
		t.Error(err)
	}
}

// TestDefaultMaster is the link that the kernel sends by, metrics and all.
func TestDefaultMaster(t *testing.T) {
	t.Parallel()
	s := kerneltest.New(t)
	s.Run(kerneltest.Segment)
	s.Run("ip link add other0 type veth peer name other1; ip link set other0 up; ip addr add 10.8.0.2/24 dev other0; ip route add default via 10.8.0.1 metric 500; " +
		"ip addr add 10.9.0.2/24 dev up0; ip route add default via 10.9.0.1 metric 5")
	p := plugintest.Plan(t, macvlan, "c1", Conf{}, "10.1.2.3/24")
	if err := p.Add(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	if err := p.Check(s.Kernel()); err != nil {
		t.Error(err)
	}
	index := strings.TrimSpace(s.Run("cat /sys/class/net/up0/ifindex"))
	if text := s.Run("pod ip -o link show eth0"); !strings.Contains(text, "@if"+index+":") {
		t.Errorf("it lies elsewhere: %s", text)
	}
}

// TestBadInput: a clear error, and nothing has changed.
func TestBadInput(t *testing.T) {
	kerneltest.Refusals{
		Plugins: []string{"plugins/main/macvlan", "plugins/ipam/static"},
		Conf:    kerneltest.Minimal("macvlan"),
		Setup:   kerneltest.Segment,
		Rows: []kerneltest.Refusal{
			{Name: "no master there", Conf: `,"master":"nowhere"`, Code: 102, Words: "master|nowhere"},
			{Name: "no default route", Code: 100, Words: "master is not given|default route"},
			{Name: "unknown mode", Conf: `,"master":"up0","mode":"bridged"`, Code: 7, Words: "mode|private"},
			{Name: "mtu above the master's", Conf: `,"master":"up0","mtu":9000`, Code: 100, Words: "9000|1500|up0"},
			{Name: "mtu too small", Conf: `,"master":"up0","mtu":67`, Code: 7, Words: "mtu is 67|68"},
			{Name: "mtu too small for IPv6", Conf: `,"master":"up0","mtu":1200,"ipam":{"type":"static","addresses":[{"address":"fd00:1:2::2/64","gateway":"fd00:1:2::1"}]}`, Code: 7, Words: "mtu is 1200|1280"},
			{Name: "a master's mtu too small for IPv6", Conf: `,"master":"up0","ipam":{"type":"static","addresses":[{"address":"fd00:1:2::2/64","gateway":"fd00:1:2::1"}]}`, Setup: "ip link set up0 mtu 1200", Code: 100, Words: "the mtu of eth0 is 1200|1280"},
			{Name: "negative mtu", Conf: `,"master":"up0","mtu":-1`, Code: 7, Words: "mtu is -1"},
			{Name: "no MAC", Conf: `,"master":"up0","mac":"zz"`, Code: 7, Words: "mac"},
			{Name: "unknown policy", Conf: `,"master":"up0","dad":"maybe"`, Code: 7, Words: "dad|optimistic"},
			{Name: "negative queue", Conf: `,"master":"up0","bcqueuelen":-1`, Code: 6, Words: "bcqueuelen|from 0 on"},
			{Name: "a bridge's port", Conf: `,"master":"up0"`, Setup: "ip link add br0 type bridge; ip link set up0 master br0", Code: 100, Words: "up0 is a port of br0"},
			{Name: "the interface is there", Conf: `,"master":"up0"`, Setup: "pod ip link add eth0 type veth peer name x", Code: 101, Words: "eth0"},
			{Name: "a master in the pod that is not", Conf: `,"master":"up0","linkInContainer":true`, Code: 102, Words: "up0"},
		},
	}.Run(t)
}

// TestBehind: after another plugin and without IPAM, the result is that one's
// with one interface more.
func TestBehind(t *testing.T) {
	t.Parallel()
	bin := kerneltest.Build(t, "plugins/main/macvlan")
	s := kerneltest.New(t)
	s.Run(kerneltest.Segment)
	out := s.Must(kerneltest.Call{Bin: bin, Plugin: "macvlan", IfName: "net1", Conf: `{"cniVersion":"1.0.0","name":"n","type":"macvlan","master":"up0",
		"prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/n"}],"ips":[{"address":"10.1.2.3/24","interface":0}]}}`}).Stdout
	for _, w := range []string{`"eth0"`, `"net1"`, `"interface": 0`} {
		if !strings.Contains(out, w) {
			t.Errorf("no %s in %s", w, out)
		}
	}
	if text := s.Run("pod ip -br addr show net1"); strings.Contains(text, "10.1.2.3") || !strings.Contains(text, "UP") {
		t.Errorf("%s", text)
	}
}
