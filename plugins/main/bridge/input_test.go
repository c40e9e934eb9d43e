package main

import (
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// TestBadInput: a clear error, and nothing has changed.
func TestBadInput(t *testing.T) {
	for _, row := range []struct {
		name, conf string
		args       string
		ifname     string
		setup      string
		code       uint
		words      string // separated by bars
	}{
		{name: "bad JSON", conf: "{\"cniVersion\":\"1.0.0\",\n \"name\": n}", code: 6, words: "line 2|column"},
		{name: "empty input", conf: "", code: 6, words: "not valid JSON"},
		{name: "wrong type", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","isGateway":"yes"}`, code: 6, words: "isGateway|true or false|string"},
		{name: "wrong type of a number", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","vlan":"100"}`, code: 6, words: "vlan|whole number"},
		{name: "a list for an object", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","ipam":[]}`, code: 6, words: "ipam|object"},
		{name: "unknown key, strict", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","strict":true,"ipMsaq":true}`, code: 2, words: "ipMsaq|did you mean ipMasq"},
		{name: "a key twice", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","vlan":1,"vlan":2}`, code: 7, words: "vlan stands twice"},
		{name: "no name", conf: `{"cniVersion":"1.0.0","type":"bridge"}`, code: 7, words: "name"},
		{name: "path in the name", conf: `{"cniVersion":"1.0.0","name":"../../etc","type":"bridge"}`, code: 7, words: "../../etc"},
		{name: "long name", conf: `{"cniVersion":"1.0.0","name":"` + strings.Repeat("n", 300) + `","type":"bridge"}`, code: 7, words: "300 characters"},
		{name: "unknown version", conf: `{"cniVersion":"9.9.9","name":"n","type":"bridge"}`, code: 1, words: "9.9.9|1.1.0"},
		{name: "vlan out of range", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","vlan":4095}`, code: 7, words: "vlan is 4095|0 to 4094"},
		{name: "trunk out of range", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","vlanTrunk":[{"id":0}]}`, code: 7, words: "vlanTrunk[0].id is 0"},
		{name: "trunk without ids", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","vlanTrunk":[null]}`, code: 7, words: "vlanTrunk[0]"},
		{name: "trunk with half a range", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","vlanTrunk":[{"minID":3}]}`, code: 7, words: "come together"},
		{name: "trunk backwards", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","vlanTrunk":[{"minID":9,"maxID":3}]}`, code: 7, words: "above maxID"},
		{name: "negative mtu", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","mtu":-5}`, code: 6, words: "mtu is -5"},
		{name: "mtu too large", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","mtu":70000}`, code: 6, words: "mtu is 70000"},
		{name: "mtu auto without a default route", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","mtu":"auto"}`, code: 100, words: "mtu auto|no default route"},
		{name: "hairpin and promiscuous", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","hairpinMode":true,"promiscMode":true}`, code: 7, words: "exclude"},
		{name: "down and ipam", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","disableContainerInterface":true,"ipam":{"type":"host-local"}}`, code: 7, words: "exclude"},
		{name: "unknown backend", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","ipMasqBackend":"pf"}`, code: 7, words: "ipMasqBackend|pf|nftables"},
		{name: "empty backend", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","ipMasqBackend":""}`, code: 7, words: "ipMasqBackend"},
		{name: "bridge's name too long", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","bridge":"a-name-of-16-byte"}`, code: 7, words: "no interface name"},
		{name: "bridge's name a path", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","bridge":"../br"}`, code: 7, words: "no interface name"},
		{name: "gateway's name too long", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","bridge":"abcdefghijklm","vlan":100,"isGateway":true}`, code: 7, words: "longer than 15"},
		{name: "no MAC", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","args":{"cni":{"mac":"zz"}}}`, code: 7, words: "mac"},
		{name: "a MAC of eight bytes", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","runtimeConfig":{"mac":"02:00:00:00:00:00:00:01"}}`, code: 7, words: "six bytes"},
		{name: "a group's MAC", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge"}`, args: "MAC=01:00:5e:00:00:01", code: 7, words: "unicast"},
		{name: "unknown argument", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge"}`, args: "FOO=1", code: 4, words: "FOO"},
		{name: "broken arguments", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge"}`, args: "FOO", code: 4, words: "KEY=VALUE"},
		{name: "interface's name", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge"}`, ifname: "a/b", code: 4, words: "CNI_IFNAME"},
		{name: "interface exists", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge"}`, setup: "pod ip link add eth0 type veth peer name x", code: 101, words: "eth0|already"},
		{name: "bridge is none", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","bridge":"br0"}`, setup: "ip link add br0 type veth peer name x", code: 100, words: "br0 is a veth"},
		{name: "no IPAM plugin", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","ipam":{"type":"nowhere"}}`, code: 102, words: `find plugin "nowhere"`},
		{name: "IPAM by a path", conf: `{"cniVersion":"1.0.0","name":"n","type":"bridge","ipam":{"type":"../host-local"}}`, code: 7, words: "no name of a plugin"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			bin := kerneltest.Build(t, "plugins/main/bridge")
			s := kerneltest.New(t)
			if row.setup != "" {
				s.Run(row.setup)
			}
			s.Refuses(kerneltest.Call{Bin: bin, Plugin: "bridge", Conf: row.conf, Args: row.args, IfName: row.ifname}, row.code, strings.Split(row.words, "|")...)
		})
	}
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
