package route

import (
	"net/netip"
	"testing"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// TestLookup asks for the way of both families, as the kernel checks strictly.
func TestLookup(t *testing.T) {
	s := kerneltest.New(t)
	s.Run(`ip link add h0 type veth peer name eth0 netns $POD; ip link set h0 up; pod ip link set eth0 up; ip link set lo up
		ip addr add 10.1.0.1/24 dev h0; ip addr add fd00::1/64 dev h0 nodad; ip route add default via 10.1.0.9; ip -6 route add default via fd00::9
		until ip -6 route show table local | grep -q "fd00::1 dev"; do sleep 0.05; done`)
	k := s.Kernel()
	for _, row := range []struct {
		to, link string
		local    bool
	}{{"10.1.0.1", "lo", true}, {"fd00::1", "", true}, {"10.1.0.2", "h0", false}, {"fd00::2", "h0", false}, {"192.0.2.1", "h0", false}, {"2001:db8::1", "h0", false}} {
		out, err := Lookup(k, kernel.Host, netip.MustParseAddr(row.to))
		if err != nil || out.Local != row.local || row.link != "" && out.Link != row.link {
			t.Errorf("%s: %+v %v", row.to, out, err)
		}
	}
	for _, side := range []kernel.Side{kernel.Host, kernel.Pod} {
		for _, six := range []bool{false, true} {
			if has, err := HasDefault(k, side, six); err != nil || has != (side == kernel.Host) {
				t.Errorf("%v has a default route: %v %v", side, has, err)
			}
		}
	}
}
