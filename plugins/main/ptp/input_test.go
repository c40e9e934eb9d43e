package main

import (
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// TestBadInput: a clear error, and nothing has changed.
func TestBadInput(t *testing.T) {
	const ipam = `,"ipam":{"type":"host-local","subnet":"10.1.2.0/24"}`
	// What host-local keeps when it has given an address and got it back.
	const asked = "mkdir -p /var/lib/cni/networks/n; touch /var/lib/cni/networks/n/lock /var/lib/cni/networks/n/last_reserved_ip.0"
	kerneltest.Refusals{
		Plugins: []string{"plugins/main/ptp", "plugins/ipam/host-local", "plugins/ipam/static"},
		Conf:    kerneltest.Minimal("ptp"),
		Rows: []kerneltest.Refusal{
			{Name: "no IPAM", Code: 7, Words: "ptp|ipam"},
			{Name: "no IPAM plugin", Conf: `,"ipam":{"type":"nowhere"}`, Code: 102, Words: `find plugin "nowhere"`},
			{Name: "IPAM refuses", Conf: `,"ipam":{"type":"host-local","subnet":"10.1.2.0/33"}`, Code: 7, Words: "10.1.2.0/33"},
			{Name: "wrong type", Conf: `,"ipMasq":"yes"` + ipam, Code: 6, Words: "ipMasq|true or false"},
			{Name: "unknown backend", Conf: `,"ipMasqBackend":"pf"` + ipam, Code: 7, Words: "ipMasqBackend|pf|nftables"},
			{Name: "iptables without its program", Conf: `,"ipMasq":true,"ipMasqBackend":"iptables"` + ipam, Setup: asked, Code: 102, Words: "backend iptables|PATH"},
			{Name: "negative mtu", Conf: `,"mtu":-1` + ipam, Code: 7, Words: "mtu is -1"},
			{Name: "mtu auto without a default route", Conf: `,"mtu":"auto"` + ipam, Setup: asked, Code: 100, Words: "mtu auto|no default route"},
			{Name: "mtu too small", Conf: `,"mtu":67` + ipam, Code: 7, Words: "mtu is 67|68"},
			{Name: "mtu too small for IPv6", Conf: `,"mtu":1200,"ipam":{"type":"static","addresses":[{"address":"fd00:1:2::2/64","gateway":"fd00:1:2::1"}]}`, Code: 7, Words: "mtu is 1200|1280|fd00:1:2::2/64"},
			{Name: "the default route's mtu too small for IPv6", Conf: `,"mtu":"auto","ipam":{"type":"static","addresses":[{"address":"fd00:1:2::2/64","gateway":"fd00:1:2::1"}]}`, Code: 100, Words: "is 1200|1280",
				Setup: kerneltest.Segment + "; ip link set up0 mtu 1200; ip addr add 10.9.0.2/24 dev up0; ip route add default via 10.9.0.1; sysctl -q net.ipv6.conf.all.forwarding=1"},
			{Name: "interface exists", Conf: ipam, Setup: "pod ip link add eth0 type veth peer name x", Code: 101, Words: "eth0|already"},
			{Name: "unknown key, strict", Conf: `,"strict":true,"ipMsaq":true` + ipam, Code: 2, Words: "did you mean ipMasq"},
		},
	}.Run(t)
}
