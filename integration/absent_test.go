package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const behindBridge = `"prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"cni0"},{"name":"veth1"},{"name":"eth0","sandbox":"/run/netns/example"}],` +
	`"ips":[{"address":"10.1.2.3/24","gateway":"10.1.2.1","interface":2}],"routes":[{"dst":"0.0.0.0/0"}]}`

const hostLocalKeys = `"ipam":{"type":"host-local","ranges":[[{"subnet":"10.1.2.0/24","rangeStart":"10.1.2.5","rangeEnd":"10.1.2.9","gateway":"10.1.2.1"}]],` +
	`"routes":[{"dst":"0.0.0.0/0","gw":"10.1.2.1","mtu":1400,"advmss":1300,"priority":5,"table":7,"scope":0}],"dataDir":"/run/none","exclude":["10.1.2.7"],"stickyKey":"A"},` +
	`"runtimeConfig":{"ips":["10.1.2.6/24"],"ipRanges":[[{"subnet":"10.1.3.0/24"}]]},"args":{"cni":{"ips":["10.1.2.6"]}}`

// filled are configurations with as many keys as a plugin can have at once, so
// that each list of objects has one to look into.
var filled = map[string][]string{
	"bandwidth": {`"ingressRate":1000000,"ingressBurst":1000000,"egressRate":1000000,"egressBurst":1000000,"exemptSubnets":["10.2.0.0/16"],` + behindBridge,
		`"runtimeConfig":{"bandwidth":{"ingressRate":1000000,"ingressBurst":1000000,"egressRate":1000000,"egressBurst":1000000}},` + behindBridge},
	"bridge": {`"bridge":"br0","isGateway":true,"ipMasq":true,"ipMasqBackend":"nftables","mtu":1400,"vlan":5,"vlanTrunk":[{"minID":7,"maxID":9},{"id":11}],"dns":{"nameservers":["10.1.2.1"],"domain":"a","search":["a"],"options":["b"]},` +
		hostLocalKeys, `"args":{"cni":{"mac":"02:00:00:00:00:01"}},"ipam":{"type":"static","addresses":[{"address":"10.1.2.3/24","gateway":"10.1.2.1"}]}`},
	"dhcp":        {`"ipam":{"type":"dhcp","family":["4"],"request":[{"option":"43","skipDefault":false}],"provide":[{"option":"host-name","value":"x"},{"option":"12","fromArg":"A"}],"priority":5}`},
	"dummy":       {`"mtu":1400,"mac":"02:00:00:00:00:01",` + hostLocalKeys},
	"firewall":    {`"backend":"nftables","ingressPolicy":"same-bridge",` + behindBridge, `"backend":"iptables","iptablesAdminChainName":"A",` + behindBridge, `"backend":"firewalld","firewalldZone":"public",` + behindBridge},
	"flannel":     {`"subnetFile":"SUBNETENV","dataDir":"/run/none","delegate":{"bridge":"br1","mtu":1300},"ipam":{"routes":[{"dst":"10.0.0.0/8"}]}`},
	"host-device": {`"device":"none0","dad":"off",` + hostLocalKeys, `"hwaddr":"02:00:00:00:00:01"`, `"runtimeConfig":{"deviceID":"0000:00:1f.6"}`},
	"host-local":  {hostLocalKeys, `"ipam":{"type":"host-local","subnet":"10.1.2.0/24","rangeStart":"10.1.2.5","rangeEnd":"10.1.2.9","gateway":"10.1.2.1","resolvConf":"/etc/resolv.conf"}`},
	"ipvlan":      {`"master":"lo","mode":"l3","mtu":1400,"dad":"off",` + hostLocalKeys},
	"loopback":    {``},
	"macvlan":     {`"master":"lo","mode":"private","mtu":1400,"mac":"02:00:00:00:00:01","bcqueuelen":5,"dad":"off",` + hostLocalKeys},
	"portmap": {`"backend":"nftables","markMasqBit":14,"conditionsV4":["ip","saddr","10.0.0.0/8"],"conditionsV6":[],"runtimeConfig":{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"udp","hostIP":"10.9.9.9"}]},` + behindBridge,
		`"backend":"iptables","externalSetMarkChain":"A","runtimeConfig":{"portMappings":[{"hostPort":8080,"containerPort":80}]},` + behindBridge},
	"ptp":    {`"ipMasq":true,"ipMasqBackend":"nftables","mtu":1400,` + hostLocalKeys},
	"sbr":    {`"table":200,` + behindBridge},
	"static": {`"ipam":{"type":"static","addresses":[{"address":"10.1.2.3/24","gateway":"10.1.2.1"}],"routes":[{"dst":"0.0.0.0/0","gw":"10.1.2.1"}],"dns":{"nameservers":["10.1.2.1"],"domain":"a","search":["a"],"options":["b"]}},"runtimeConfig":{"ips":["10.1.2.9/24"]},"args":{"cni":{"ips":["10.1.2.8/24"]}}`},
	"tap":    {`"multiQueue":true,"mtu":1400,"mac":"02:00:00:00:00:01","owner":5,"group":6,"bridge":"br1",` + hostLocalKeys},
	"tuning": {`"sysctl":{"net.core.somaxconn":"500"},"mac":"02:00:00:00:00:01","mtu":1400,"promisc":true,"allmulti":false,"txQLen":5,"dataDir":"/run/none","ethtool":{"rx":true},"args":{"cni":{"mac":"02:00:00:00:00:02"}},` + behindBridge},
	"vlan":   {`"master":"lo","vlanId":5,"mtu":1400,"dad":"off",` + hostLocalKeys},
	"vrf":    {`"vrfname":"blue","table":200,` + behindBridge},
}

// undecided are plugins whose plan hangs on what the machine has.
var undecided = []string{"host-device", "macvlan", "ipvlan", "vlan", "dhcp"}

// counts are the keys that say something by being there, whatever their value.
var counts = []string{"cni.dev/valid-attachments", "cni.dev/attachments"}

// TestEmptyKeyIsAbsent: each key of each plugin's schema, at every depth, that is
// "", null, [] or {} has the plan, the result and the errors that it has where it
// is left out.
func TestEmptyKeyIsAbsent(t *testing.T) {
	entries, err := os.ReadDir(plugins)
	must(t, err)
	subnets := filepath.Join(t.TempDir(), "subnet.env")
	must(t, os.WriteFile(subnets, []byte("FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.2.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"), 0o600))
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		t.Run(e.Name(), func(t *testing.T) {
			t.Parallel()
			confs, ok := filled[e.Name()]
			if !ok {
				t.Fatalf("no configuration of %s is known here", e.Name())
			}
			var schema map[string]any
			must(t, json.Unmarshal([]byte(says(e.Name(), "schema", nil)), &schema))
			tried := 0
			for _, c := range confs {
				c = fmt.Sprintf(`{"cniVersion":"1.0.0","name":"net","type":%q,"capabilities":{"mac":true},"strict":true,%s`, e.Name(), strings.ReplaceAll(c, "SUBNETENV", subnets))
				var conf map[string]any
				must(t, json.Unmarshal([]byte(strings.TrimSuffix(c, ",")+"}"), &conf))
				if got := outcome(e.Name(), conf); strings.Contains(got, "exit status") && !slices.Contains(undecided, e.Name()) {
					t.Errorf("what is to have a plan is refused:\n%s", got)
				}
				tried += emptied(t, e.Name(), "", conf, conf, schema)
			}
			if tried < 20 {
				t.Errorf("only %d keys were tried", tried)
			}
		})
	}
}

// emptied tries the keys of an object that is a part of the configuration.
func emptied(t *testing.T, plugin, path string, conf, object, schema map[string]any) (tried int) {
	t.Helper()
	properties, _ := schema["properties"].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		if slices.Contains(counts, key) {
			continue
		}
		property, _ := properties[key].(map[string]any)
		before, had := object[key]
		delete(object, key)
		want := outcome(plugin, conf)
		for _, empty := range empties(property) {
			object[key] = empty
			if got := outcome(plugin, conf); got != want {
				text, _ := json.Marshal(empty)
				t.Errorf("%s%s: %s\n%s\nwithout the key:\n%s", path, key, text, got, want)
			}
			tried++
		}
		delete(object, key)
		if !had {
			continue
		}
		object[key] = before
		switch before := before.(type) {
		case map[string]any:
			tried += emptied(t, plugin, path+key+".", conf, before, property)
		case []any:
			tried += emptiedIn(t, plugin, path+key, conf, before, property)
		}
	}
	return tried
}

// emptiedIn is emptied for the objects of a list, or of a list of lists.
func emptiedIn(t *testing.T, plugin, path string, conf map[string]any, list []any, schema map[string]any) (tried int) {
	t.Helper()
	items, _ := schema["items"].(map[string]any)
	for i, one := range list {
		switch one := one.(type) {
		case map[string]any:
			tried += emptied(t, plugin, fmt.Sprintf("%s[%d].", path, i), conf, one, items)
		case []any:
			tried += emptiedIn(t, plugin, fmt.Sprintf("%s[%d]", path, i), conf, one, items)
		}
	}
	return tried
}

// empties are the empty values that a client may write for a key.
func empties(property map[string]any) []any {
	all := []any{nil, ""}
	switch property["type"] {
	case "array":
		return append(all, []any{})
	case "object":
		return append(all, map[string]any{})
	case nil:
		if _, several := property["anyOf"]; several {
			return append(all, []any{})
		}
		return append(all, map[string]any{}) // which another plugin reads
	}
	return all
}

func outcome(plugin string, conf map[string]any) string {
	text, _ := json.Marshal(conf)
	return says(plugin, "plan", text) + says(plugin, "result", text)
}

func says(plugin, word string, stdin []byte) string {
	c := exec.Command(filepath.Join(plugins, plugin), word)
	c.Env, c.Stdin = []string{"CNI_ARGS=A=b;IgnoreUnknown=1"}, bytes.NewReader(stdin)
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s%v\n", out, err)
	}
	return string(out)
}
