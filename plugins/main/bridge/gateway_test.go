package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// outside is a shell command that makes a namespace behind the host's up0, which
// knows the host as its router. Its path is $OUT.
const outside = `; ip addr add 192.0.2.1/24 dev up0; ip addr add 2001:db8:1::1/64 dev up0 nodad; ip link set up1 netns "$OUT"
out() { nsenter --net="$OUT" "$@"; }
out ip link set lo up; out ip link set up1 up; out ip addr add 192.0.2.2/24 dev up1; out ip addr add 2001:db8:1::2/64 dev up1 nodad
out ip route add default via 192.0.2.1; out ip -6 route add default via 2001:db8:1::1
`

// TestGatewayElsewhere: with a gateway on no subnet of the pod's, the pod reaches
// it, the world and its neighbour, and all of them reach it. However DEL comes, it
// leaves nothing.
func TestGatewayElsewhere(t *testing.T) {
	bin := kerneltest.Build(t, "plugins/main/bridge", "plugins/ipam/static")
	for _, row := range []struct{ name, four, gateway, six, gateway6 string }{
		{"link-local", "10.1.2.%/24", "169.254.1.1", "fd00:1:2::%/64", "fe80::1"},
		{"single addresses", "10.1.2.%/32", "10.9.9.1", "fd00:1:2::%/128", "fd00:9::1"},
		{"single addresses, link-local", "10.1.2.%/32", "169.254.1.1", "fd00:1:2::%/128", "fe80::1"},
		{"another subnet", "10.1.2.%/24", "10.9.9.1", "fd00:1:2::%/64", "fd00:9::1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := kerneltest.New(t)
			out, second := filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "second")
			s.NewPod(out)
			s.NewPod(second)
			s.Run("OUT=" + out + "; " + kerneltest.Segment + outside)
			call := func(n, verb, more string) kerneltest.Call {
				with := func(text string) string { return strings.ReplaceAll(text, "%", n) }
				return kerneltest.Call{Bin: bin, Plugin: "bridge", Verb: verb, ContainerID: "c" + n, Conf: `{"cniVersion":"1.1.0","name":"n","type":"bridge","bridge":"br0","isDefaultGateway":true,` +
					`"ipam":{"type":"static","addresses":[{"address":"` + with(row.four) + `","gateway":"` + row.gateway +
					`"},{"address":"` + with(row.six) + `","gateway":"` + row.gateway6 + `"}]}` + more + "}"}
			}
			other := call("4", "ADD", "")
			other.Netns = second
			s.Must(other)
			before := s.HostText()
			for _, del := range []string{"prevResult", "no result", "GC"} {
				result := s.Must(call("3", "ADD", "")).Stdout
				s.Must(call("3", "CHECK", `,"prevResult":`+result))
				zone := ""
				if strings.HasPrefix(row.gateway6, "fe80") {
					zone = "%eth0"
				}
				for _, c := range []string{
					"pod ping -c1 -W20 " + row.gateway, "pod ping -c1 -W20 " + row.gateway6 + zone,
					"pod ping -c1 -W20 192.0.2.2", "pod ping -c1 -W20 2001:db8:1::2",
					"nsenter --net=" + out + " ping -c1 -W20 10.1.2.3", "nsenter --net=" + out + " ping -c1 -W20 fd00:1:2::3",
					"nsenter --net=" + out + " ping -c1 -W20 10.1.2.4", "ping -c1 -W20 10.1.2.3", "ping -c1 -W20 fd00:1:2::3",
					"pod ping -c1 -W20 10.1.2.4", "pod ping -c1 -W20 fd00:1:2::4",
				} {
					if text, err := s.Try(c); err != nil {
						t.Errorf("%s: %v\n%s", c, err, text)
					}
				}
				s.Has("ip route show 10.1.2.3; ip -6 route show fd00:1:2::3", "10.1.2.3 dev br0 proto 202", "fd00:1:2::3 dev br0 proto 202")
				switch del {
				case "prevResult":
					s.Run("ip route del 10.1.2.3 dev br0")
					s.Refuses(call("3", "CHECK", `,"prevResult":`+result), 104, "10.1.2.3")
					s.Must(call("3", "DEL", `,"prevResult":`+result))
				case "no result":
					s.Must(call("3", "DEL", ""))
					s.Must(call("3", "DEL", ""))
				case "GC":
					s.Run("pod ip link del eth0")
					s.Must(call("", "GC", `,"cni.dev/valid-attachments":[{"containerID":"c4","ifname":"eth0"}]`))
				}
				s.Same("DEL", before, s.HostText())
			}
		})
	}
}
