package main

import (
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// TestBadInput: a clear error, and nothing has changed.
func TestBadInput(t *testing.T) {
	kerneltest.Refusals{
		Plugins: []string{"plugins/main/bridge", "plugins/ipam/static"},
		Rows: []kerneltest.Refusal{
			{Name: "bad JSON", Conf: "{\"cniVersion\":\"1.0.0\",\n \"name\": n}", Code: 6, Words: "line 2|column"},
			{Name: "empty input", Code: 6, Words: "not valid JSON"},
			{Name: "wrong type", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","isGateway":"yes"}`, Code: 6, Words: "isGateway|true or false|string"},
			{Name: "wrong type of a number", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","vlan":"100"}`, Code: 6, Words: "vlan|whole number"},
			{Name: "a list for an object", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","ipam":[]}`, Code: 6, Words: "ipam|object"},
			{Name: "unknown key, strict", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","strict":true,"ipMsaq":true}`, Code: 2, Words: "ipMsaq|did you mean ipMasq"},
			{Name: "a key twice", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","vlan":1,"vlan":2}`, Code: 7, Words: "vlan stands twice"},
			{Name: "no name", Conf: `{"cniVersion":"1.0.0","type":"bridge"}`, Code: 7, Words: "name"},
			{Name: "path in the name", Conf: `{"cniVersion":"1.0.0","name":"../../etc","type":"bridge"}`, Code: 7, Words: "../../etc"},
			{Name: "long name", Conf: `{"cniVersion":"1.0.0","name":"` + strings.Repeat("n", 300) + `","type":"bridge"}`, Code: 7, Words: "characters together"},
			{Name: "unknown version", Conf: `{"cniVersion":"9.9.9","name":"n","type":"bridge"}`, Code: 1, Words: "9.9.9|1.1.0"},
			{Name: "vlan out of range", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","vlan":4095}`, Code: 7, Words: "vlan is 4095|0 to 4094"},
			{Name: "trunk out of range", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","vlanTrunk":[{"id":0}]}`, Code: 7, Words: "vlanTrunk[0].id is 0"},
			{Name: "trunk without ids", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","vlanTrunk":[null]}`, Code: 7, Words: "vlanTrunk[0]"},
			{Name: "trunk with half a range", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","vlanTrunk":[{"minID":3}]}`, Code: 7, Words: "come together"},
			{Name: "trunk backwards", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","vlanTrunk":[{"minID":9,"maxID":3}]}`, Code: 7, Words: "above maxID"},
			{Name: "negative mtu", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","mtu":-5}`, Code: 7, Words: "mtu is -5"},
			{Name: "mtu too large", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","mtu":70000}`, Code: 7, Words: "mtu is 70000"},
			{Name: "mtu too small", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","bridge":"br0","mtu":67}`, Code: 7, Words: "mtu is 67|68"},
			{Name: "mtu too small for IPv6", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","bridge":"br0","mtu":1200,"isGateway":true,"ipam":{"type":"static","addresses":[{"address":"fd00:1:2::2/64","gateway":"fd00:1:2::1"}]}}`, Code: 7, Words: "mtu is 1200|1280|fd00:1:2::2/64"},
			{Name: "a bridge's mtu too small for IPv6", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","bridge":"br0","ipam":{"type":"static","addresses":[{"address":"fd00:1:2::2/64","gateway":"fd00:1:2::1"}]}}`, Setup: "ip link add br0 address 02:00:00:00:00:01 type bridge; sysctl -q net.ipv6.conf.br0.accept_ra=0 net.ipv6.conf.br0.accept_dad=0; ip link set br0 up mtu 1200", Code: 100, Words: "the mtu of eth0 is 1200|1280"},
			{Name: "mtu too small for another network's IPv6", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","bridge":"br0","mtu":1200}`, Setup: "ip link add br0 address 02:00:00:00:00:01 type bridge; ip link set br0 up; ip addr add fd00:9::1/64 dev br0 nodad", Code: 100, Words: "br0|fd00:9::1/64|1280"},
			{Name: "mtu auto without a default route", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","mtu":"auto"}`, Code: 100, Words: "mtu auto|no default route"},
			{Name: "hairpin and promiscuous", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","hairpinMode":true,"promiscMode":true}`, Code: 7, Words: "exclude"},
			{Name: "down and ipam", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","disableContainerInterface":true,"ipam":{"type":"host-local"}}`, Code: 7, Words: "exclude"},
			{Name: "unknown backend", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","ipMasqBackend":"pf"}`, Code: 7, Words: "ipMasqBackend|pf|nftables"},
			{Name: "bridge's name too long", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","bridge":"a-name-of-16-byte"}`, Code: 7, Words: "bridge|1 to 15 bytes"},
			{Name: "bridge's name a path", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","bridge":"../br"}`, Code: 7, Words: "bridge|1 to 15 bytes"},
			{Name: "bridge's name a pattern", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","bridge":"br%d"}`, Code: 7, Words: "bridge|br%d|'%'"},
			{Name: "gateway's name too long", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","bridge":"abcdefghijklm","vlan":100,"isGateway":true}`, Code: 7, Words: "longer than 15"},
			{Name: "no MAC", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","args":{"cni":{"mac":"zz"}}}`, Code: 7, Words: "mac"},
			{Name: "a MAC of eight bytes", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","runtimeConfig":{"mac":"02:00:00:00:00:00:00:01"}}`, Code: 7, Words: "six bytes"},
			{Name: "a group's MAC", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge"}`, Args: "MAC=01:00:5e:00:00:01", Code: 7, Words: "unicast"},
			{Name: "unknown argument", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge"}`, Args: "FOO=1", Code: 4, Words: "FOO"},
			{Name: "broken arguments", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge"}`, Args: "FOO", Code: 4, Words: "KEY=VALUE"},
			{Name: "interface's name", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge"}`, IfName: "a/b", Code: 4, Words: "CNI_IFNAME"},
			{Name: "interface exists", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge"}`, Setup: "pod ip link add eth0 type veth peer name x", Code: 101, Words: "eth0|already"},
			{Name: "bridge is none", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","bridge":"br0"}`, Setup: "ip link add br0 type veth peer name x", Code: 100, Words: "br0 is a veth"},
			{Name: "no IPAM plugin", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","ipam":{"type":"nowhere"}}`, Code: 102, Words: `find plugin "nowhere"`},
			{Name: "IPAM by a path", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","ipam":{"type":"../host-local"}}`, Code: 7, Words: "type is \"../host-local\", which is no name of a plugin"},
		},
	}.Run(t)
}

// TestUnknownKeyIsWarnedOf: a slip of the hand is not fatal, and not silent.
func TestUnknownKeyIsWarnedOf(t *testing.T) {
	t.Parallel()
	bin := kerneltest.Build(t, "plugins/main/bridge")
	s := kerneltest.New(t)
	a := s.Must(kerneltest.Call{Bin: bin, Plugin: "bridge", Conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","hairpinmode":true,"isGatway":true}`})
	if !strings.Contains(a.Stderr, "isGatway") || !strings.Contains(a.Stderr, "isGateway") || strings.Contains(a.Stderr, "hairpinmode") {
		t.Errorf("stderr: %q", a.Stderr)
	}
}
