package main

import (
	"path/filepath"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestGatewayElsewhere: with a gateway on no subnet of the pod's, the pod reaches
// it and the world, and both reach the pod. DEL leaves nothing.
func TestGatewayElsewhere(t *testing.T) {
	bin := kerneltest.Build(t, "plugins/main/ptp", "plugins/ipam/static")
	for _, row := range []struct{ name, four, gateway, six, gateway6, zone string }{
		{"link-local", "10.1.2.3/24", "169.254.1.1", "fd00:1:2::3/64", "fe80::1", "%eth0"},
		{"single addresses", "10.1.2.3/32", "10.9.9.1", "fd00:1:2::3/128", "fd00:9::1", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := kerneltest.New(t)
			out := filepath.Join(t.TempDir(), "out")
			s.NewPod(out)
			s.Run(kerneltest.Segment + "; OUT=" + out + `; ip addr add 192.0.2.1/24 dev up0; ip addr add 2001:db8:1::1/64 dev up0 nodad; ip link set up1 netns "$OUT"
				out() { nsenter --net="$OUT" "$@"; }
				out ip link set up1 up; out ip addr add 192.0.2.2/24 dev up1; out ip addr add 2001:db8:1::2/64 dev up1 nodad
				out ip route add default via 192.0.2.1; out ip -6 route add default via 2001:db8:1::1; sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1`)
			before := s.HostText()
			conf := kerneltest.Minimal("ptp")(`,"ipam":{"type":"static","routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}],"addresses":[` +
				`{"address":"` + row.four + `","gateway":"` + row.gateway + `"},{"address":"` + row.six + `","gateway":"` + row.gateway6 + `"}]}`)
			result := s.Must(kerneltest.Call{Bin: bin, Plugin: "ptp", Conf: conf}).Stdout
			s.Must(kerneltest.Call{Bin: bin, Plugin: "ptp", Verb: "CHECK", Conf: conf[:len(conf)-1] + `,"prevResult":` + result + "}"})
			for _, c := range []string{
				"pod ping -c1 -W20 " + row.gateway, "pod ping -c1 -W20 " + row.gateway6 + row.zone,
				"pod ping -c1 -W20 192.0.2.2", "pod ping -c1 -W20 2001:db8:1::2",
				"nsenter --net=" + out + " ping -c1 -W20 10.1.2.3", "nsenter --net=" + out + " ping -c1 -W20 fd00:1:2::3",
				"ping -c1 -W20 10.1.2.3", "ping -c1 -W20 fd00:1:2::3",
			} {
				if text, err := s.Try(c); err != nil {
					t.Errorf("%s: %v\n%s", c, err, text)
				}
			}
			s.Must(kerneltest.Call{Bin: bin, Plugin: "ptp", Verb: "DEL", Conf: conf})
			s.Same("DEL", before, s.HostText())
		})
	}
}
