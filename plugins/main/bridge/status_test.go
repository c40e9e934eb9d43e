package main

import (
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestStatus: STATUS fails where ADD would, whether the bridge is there or not.
func TestStatus(t *testing.T) {
	const filtering = "this kernel's bridges do not filter VLANs|CONFIG_BRIDGE_VLAN_FILTERING"
	rows := []kerneltest.Prospect{{Keys: `,"bridge":"br0","mtu":1400`, Setup: "ip link add br0 type veth peer name x", Words: "br0 is a veth"}}
	for _, setup := range []string{"", "ip link add cni0 type bridge"} {
		rows = append(rows,
			kerneltest.Prospect{Setup: setup},
			kerneltest.Prospect{Keys: `,"vlan":5`, Setup: setup, Words: filtering},
			kerneltest.Prospect{Keys: `,"vlanTrunk":[{"id":5}]`, Setup: setup, Words: filtering},
			kerneltest.Prospect{Keys: `,"vlanTrunk":[]`, Setup: setup, Words: filtering},
			kerneltest.Prospect{Keys: `,"macspoofchk":true`, Setup: setup, Words: "nftables table"},
			kerneltest.Prospect{Keys: `,"portIsolation":true,"hairpinMode":true`, Setup: setup},
		)
	}
	kerneltest.Prospects{Plugins: []string{"plugins/main/bridge"}, Rows: rows}.Run(t)
}
