package addr

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestGateway: what a former configuration left on the bridge.
func TestGateway(t *testing.T) {
	for _, row := range []struct {
		name, setup string
		gateway     Gateway
		has, lacks  string
		err         string
	}{
		{"a new one", "", Gateway{Prefix: netip.MustParsePrefix("10.1.0.1/24")}, "10.1.0.1/24", "", ""},
		{"it is there", "ip addr add 10.1.0.1/24 dev br0", Gateway{Prefix: netip.MustParsePrefix("10.1.0.1/24")}, "10.1.0.1/24", "", ""},
		{"another subnet beside it", "ip addr add 10.2.0.1/24 dev br0; ip link set p master br0", Gateway{Prefix: netip.MustParsePrefix("10.1.0.1/24")}, "10.2.0.1/24", "", ""},
		{"an old one that nobody uses", "ip addr add 10.1.0.1/16 dev br0", Gateway{Prefix: netip.MustParsePrefix("10.1.0.1/24")}, "10.1.0.1/24", "10.1.0.1/16", ""},
		{"an old one that a pod uses", "ip addr add 10.1.0.254/24 dev br0; ip link set p master br0 alias n/c/eth0", Gateway{Prefix: netip.MustParsePrefix("10.1.0.1/24")}, "10.1.0.254/24", "10.1.0.1/24", "n/c/eth0"},
		{"the same, forced", "ip addr add 10.1.0.254/24 dev br0; ip link set p master br0", Gateway{Prefix: netip.MustParsePrefix("10.1.0.1/24"), Force: true}, "10.1.0.1/24", "10.1.0.254/24", ""},
		{"an old one under the pod's own port", "ip addr add 10.1.0.254/24 dev br0; ip link set p master br0", Gateway{Prefix: netip.MustParsePrefix("10.1.0.1/24"), Owned: "p"}, "10.1.0.1/24", "10.1.0.254/24", ""},
		{"IPv6", "ip addr add fd00::fe/64 dev br0", Gateway{Prefix: netip.MustParsePrefix("fd00::1/64")}, "fd00::1/64", "fd00::fe/64", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := kerneltest.New(t)
			s.Run("ip link add br0 type bridge; ip link set br0 up; ip link add dev p type veth peer name q; true; " + row.setup)
			row.gateway.Link = "br0"
			err := row.gateway.Add(s.Kernel())
			if row.err == "" && err != nil || row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)) {
				t.Errorf("%v", err)
			}
			text := s.Run("ip addr show br0")
			if !strings.Contains(text, row.has+" ") || row.lacks != "" && strings.Contains(text, row.lacks+" ") {
				t.Errorf("the bridge has\n%s", text)
			}
			if row.err == "" && row.gateway.Check(s.Kernel()) != nil {
				t.Error("CHECK does not find it")
			}
			if strings.Contains(text, "tentative") && !strings.Contains(text, "fe80") {
				t.Errorf("the gateway cannot be used yet:\n%s", text)
			}
		})
	}
}
