package integration

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/catena-cni/catena/integration/node"
)

// gcChains have records of every kind.
var gcChains = map[string]string{
	"nftables": `{"type":"bridge","bridge":"gc0","isDefaultGateway":true,"ipMasq":true,"macspoofchk":true,"ipam":{"type":"host-local","subnet":"10.72.0.0/24"}},
		{"type":"tuning","mtu":1400,"sysctl":{"net.ipv4.conf.IFNAME.log_martians":"0"}},
		{"type":"portmap","capabilities":{"portMappings":true}},
		{"type":"firewall"},
		{"type":"bandwidth","egressRate":10000000,"egressBurst":10000000}`,
	"iptables": `{"type":"ptp","ipMasq":true,"ipMasqBackend":"iptables","ipam":{"type":"host-local","subnet":"10.72.0.0/24","routes":[{"dst":"0.0.0.0/0"}]}},
		{"type":"portmap","backend":"iptables","capabilities":{"portMappings":true}},
		{"type":"firewall","backend":"iptables"}`,
	"flannel": `{"type":"flannel","delegate":{"ipMasq":true}},{"type":"portmap","capabilities":{"portMappings":true}}`,
}

// TestGCWithoutList: where nobody says which attachments are valid, GC takes what
// is of a namespace that is gone, and leaves all of the pod that lives.
func TestGCWithoutList(t *testing.T) {
	for name, chain := range gcChains {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			must(t, n.WriteFile(subnetEnv, "FLANNEL_NETWORK=10.72.0.0/16\nFLANNEL_SUBNET=10.72.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"))
			list, err := node.Parse([]byte(`{"cniVersion":"1.1.0","name":"gc","plugins":[`+chain+`]}`), "")
			must(t, err)
			r := n.Runtime(nil, plugins)
			lives := node.Attachment{Pod: newPod(t, n, "lives"), List: list, IfName: "eth0", Ports: both(8080, 80)}
			_, err = r.Add(lives)
			must(t, err)
			before := text(t, n)
			dies := node.Attachment{Pod: newPod(t, n, "dies"), List: list, IfName: "eth0", Ports: both(8081, 80)}
			_, err = r.Add(dies)
			must(t, err)
			gcWithoutList(t, n, list.Bytes)
			must(t, r.Check(dies))
			must(t, dies.Pod.Remove())
			gcWithoutList(t, n, list.Bytes)
			must(t, r.Forget(dies))
			must(t, r.Check(lives))
			eventually(t, func() error { // the kernel ends a namespace in its own time
				if _, left := node.Left(before, text(t, n)); len(left) > 0 {
					return errors.New("left behind:\n" + strings.Join(left, "\n"))
				}
				return nil
			})
		})
	}
}

// gcWithoutList runs GC of each plugin as cnitool 1.3.1 does.
func gcWithoutList(t *testing.T, n *node.Node, list []byte) {
	t.Helper()
	var conf struct{ Plugins []map[string]any }
	must(t, json.Unmarshal(list, &conf))
	for _, p := range conf.Plugins {
		p["cniVersion"], p["name"] = "1.1.0", "gc"
		text, err := json.Marshal(p)
		must(t, err)
		if out, err := byHand(n, "GC", p["type"].(string), "", "", "", string(text)); err != nil {
			t.Errorf("%v: %v %s", p["type"], err, out)
		}
	}
}
