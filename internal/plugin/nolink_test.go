package plugin_test

import (
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestBehindNoLink: where a driver in user space has the device, CNI_IFNAME is no
// link. What works on the host or on the namespace works, and what needs the link
// says so.
func TestBehindNoLink(t *testing.T) {
	const prev = `,"prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/n"}],"ips":[{"address":"10.9.0.2/24","gateway":"10.9.0.1","interface":0}]}`
	for _, c := range []struct {
		plugin, keys string
		needs        []string
		works        bool
	}{
		{"firewall", ``, nil, true},
		{"portmap", chained[2].keys, nil, true},
		{"tuning", `,"sysctl":{"net.core.somaxconn":"500"}`, nil, true},
		{"tuning", `,"mtu":1400`, nil, false},
		{"bandwidth", ``, nil, true},
		{"bandwidth", `,"ingressRate":1000000`, []string{"shaping"}, false},
		{"bandwidth", `,"egressRate":1000000,"egressShaper":"pod"`, []string{"shaping"}, false},
		{"sbr", ``, nil, false},
		{"vrf", `,"vrfname":"blue"`, nil, false},
	} {
		t.Run(c.plugin+c.keys, func(t *testing.T) {
			t.Parallel()
			if c.needs != nil {
				kerneltest.Needs(t, c.needs...)
			}
			bin := kerneltest.Build(t, "plugins/meta/"+c.plugin)
			s := kerneltest.New(t)
			call := kerneltest.Call{Bin: bin, Plugin: c.plugin, Conf: `{"cniVersion":"1.0.0","name":"n","type":"` + c.plugin + `"` + c.keys + prev + `}`}
			if !c.works {
				s.Refuses(call, 102, "eth0", "there is none")
			}
			for _, verb := range []string{"ADD", "CHECK", "DEL"} {
				call.Verb = verb
				if c.works || verb == "DEL" {
					s.Must(call)
				}
			}
		})
	}
}
