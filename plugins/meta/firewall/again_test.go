package main

import (
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestAgain: of two ADDs of an attachment the last one counts.
func TestAgain(t *testing.T) {
	kerneltest.Again{
		Bin: kerneltest.Build(t, "plugins/meta/firewall"), Plugin: "firewall", Programs: "/usr/sbin:/sbin:/usr/bin:/bin", Renewed: true,
		Conf: func(keys string) string {
			return `{"cniVersion":"1.1.0","name":"n","type":"firewall"` + keys + `,"prevResult":{"cniVersion":"1.1.0",
				"interfaces":[{"name":"br0"},{"name":"port1"},{"name":"eth0","sandbox":"/x"}],"ips":[{"address":"10.1.2.3/24","interface":2},{"address":"fd00:1:2::3/64","interface":2}]}}`
		},
		Setup: func(s *kerneltest.Sandbox) {
			s.Run("ip link del br0 2>/dev/null; " + bridged)
		},
		Look: "nft list table inet catena; nft list table bridge catena; for i in iptables ip6tables; do $i -S; done; find /run/catena -name '*.*' | sort",
		Keys: []string{
			``, `,"ingressPolicy":"isolated"`, `,"ingressPolicy":"same-bridge"`, `,"backend":"iptables","ingressPolicy":"isolated"`, `,"backend":"iptables"`,
		},
	}.Run(t)
}
