package hostlocal

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/cni/conf"
	"github.com/catena-cni/catena/internal/ipam"
	"github.com/catena-cni/catena/internal/state/name"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestSets holds the order and the defaults of sets, and where requested
// addresses come from.
func TestSets(t *testing.T) {
	for name, c := range map[string]struct {
		conf, args, sets, requested string
	}{
		"legacy":               {conf: `"ipam":{"subnet":"10.1.2.0/24"}`, sets: "10.1.2.1-10.1.2.254"},
		"legacy with all":      {conf: `"ipam":{"subnet":"10.1.2.0/24","rangeStart":"10.1.2.9","rangeEnd":"10.1.2.19","gateway":"10.1.2.254"}`, sets: "10.1.2.9-10.1.2.19"},
		"legacy without":       {conf: `"ipam":{"rangeStart":"junk","gateway":"10.9.9.9","ranges":[[{"subnet":"10.1.2.0/24"}]]}`, sets: "10.1.2.1-10.1.2.254"},
		"order":                {conf: `"ipam":{"subnet":"10.1.0.0/24","ranges":[[{"subnet":"10.2.0.0/24"},{"subnet":"10.3.0.0/24"}],[{"subnet":"fd00::/64"}]]},"runtimeConfig":{"ipRanges":[[{"subnet":"10.4.0.0/24"}],[{"subnet":"10.5.0.0/24"}]]}`, sets: "10.4.0.1-10.4.0.254 10.5.0.1-10.5.0.254 10.1.0.1-10.1.0.254 10.2.0.1-10.2.0.254,10.3.0.1-10.3.0.254 fd00::1-fd00::ffff:ffff:ffff:ffff"},
		"keys of any case":     {conf: `"IPAM":{"Ranges":[[{"SUBNET":"10.1.2.0/24","RangeStart":"10.1.2.9"}]]}`, sets: "10.1.2.9-10.1.2.254"},
		"mapped":               {conf: `"ipam":{"ranges":[[{"subnet":"::ffff:10.1.2.0/120","rangeStart":"::ffff:10.1.2.9","gateway":"::ffff:10.1.2.3"}]]}`, sets: "10.1.2.9-10.1.2.254"},
		"gateway elsewhere":    {conf: `"ipam":{"subnet":"10.1.2.0/24","gateway":"192.168.0.1"}`, sets: "10.1.2.1-10.1.2.254"},
		"point to point":       {conf: `"ipam":{"subnet":"10.1.2.0/31"}`, sets: "10.1.2.0-10.1.2.1"},
		"network address":      {conf: `"ipam":{"subnet":"10.1.2.0/24","rangeStart":"10.1.2.0","rangeEnd":"10.1.2.255"}`, sets: "10.1.2.0-10.1.2.255"},
		"nulls":                {conf: `"ipam":{"subnet":"10.1.2.0/24","rangeStart":null,"ranges":null,"routes":null,"dataDir":null},"args":null,"runtimeConfig":null`, sets: "10.1.2.1-10.1.2.254"},
		"two families of 0.2":  {conf: `"cniVersion":"0.2.0","ipam":{"ranges":[[{"subnet":"10.1.2.0/24"}],[{"subnet":"fd00::/64"}]]}`, sets: "10.1.2.1-10.1.2.254 fd00::1-fd00::ffff:ffff:ffff:ffff"},
		"requests accumulate":  {conf: `"ipam":{"subnet":"10.1.2.0/24"},"args":{"cni":{"ips":["10.1.2.7","::ffff:10.1.2.8"]}},"runtimeConfig":{"ips":["10.1.2.9/16","fd00::5/64"]}`, args: "IP=10.1.2.6", sets: "10.1.2.1-10.1.2.254", requested: "10.1.2.6 10.1.2.7 10.1.2.8 10.1.2.9 fd00::5"},
		"request with length":  {conf: `"ipam":{"subnet":"10.1.2.0/24"}`, args: "IP=10.1.2.6/8", sets: "10.1.2.1-10.1.2.254", requested: "10.1.2.6"},
		"request of a kubelet": {conf: `"ipam":{"subnet":"10.1.2.0/24"}`, args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;IP=10.1.2.6;K8S_POD_NAME=web-0", sets: "10.1.2.1-10.1.2.254", requested: "10.1.2.6"},
		"excluded":             {conf: `"ipam":{"subnet":"10.1.2.0/24","exclude":["10.1.2.9","10.1.2.128/25","::ffff:10.1.2.64/122","fd00::/8"]}`, sets: "10.1.2.1-10.1.2.254 less what is excluded"},
		"excluded elsewhere":   {conf: `"ipam":{"subnet":"10.1.2.0/24","exclude":["10.9.0.0/16","fd00::1"]}`, sets: "10.1.2.1-10.1.2.254"},
		"other args":           {conf: `"ipam":{"subnet":"10.1.2.0/24"},"args":{"cni":{"labels":[{"key":"a"}]},"org":1}`, sets: "10.1.2.1-10.1.2.254"},
	} {
		t.Run(name, func(t *testing.T) {
			text := c.conf
			if !strings.Contains(text, "cniVersion") {
				text = `"cniVersion":"1.0.0",` + text
			}
			var read Conf
			must(t, conf.Decode([]byte("{"+text+"}"), &read))
			must(t, conf.Validate(&read))
			call := ipam.Call{Args: map[string]string{}}
			for pair := range strings.SplitSeq(c.args, ";") {
				if key, value, ok := strings.Cut(pair, "="); ok {
					call.Args[key] = value
				}
			}
			must(t, read.Validate(call))
			if got := words(read.sets); got != c.sets {
				t.Errorf("sets %s, want %s", got, c.sets)
			}
			if got := words(read.requested); got != c.requested {
				t.Errorf("requested %s, want %s", got, c.requested)
			}
		})
	}
}

func words[T fmt.Stringer](all []T) string {
	texts := make([]string, len(all))
	for i, x := range all {
		texts[i] = x.String()
	}
	return strings.Join(texts, " ")
}

func TestResolvConf(t *testing.T) {
	d := parseResolvConf("# of nobody\n; nor this\nnameserver 10.0.0.53\n\tnameserver  fd00::53 \ndomain a.example\ndomain b.example\nsearch x y\nsearch z\noptions ndots:5 rotate\nnameserver\nsortlist 10.0.0.0\n")
	if got := fmt.Sprint(d); got != "{[10.0.0.53 fd00::53] b.example [x y z] [ndots:5 rotate]}" {
		t.Error(got)
	}
}

// TestRelativeDataDir: what upstream made in a folder of the runtime's own is freed.
func TestRelativeDataDir(t *testing.T) {
	t.Chdir(t.TempDir())
	must(t, os.MkdirAll("data/n", 0o755))
	must(t, os.WriteFile("data/n/10.1.2.2", []byte("c\r\neth0"), 0o600))
	c := Conf{IPAM: IPAM{DataDir: "data", Subnet: "10.1.2.0/24"}}
	call := ipam.Call{Attachment: name.Attachment{Network: "n", ContainerID: "c", IfName: "eth0"}}
	if err := c.Validate(call); err == nil || !strings.Contains(err.Error(), `ipam.dataDir is "data"`) {
		t.Error(err)
	}
	must(t, c.Free(call))
	if _, err := os.Stat("data/n/10.1.2.2"); err == nil {
		t.Error("the lease is still there")
	}
}

// everything has every key. Its leases are in a folder of the test's.
const everything = `{"cniVersion":"1.0.0","name":"n","type":"bridge","bridge":"cni0","ipam":{"type":"host-local","dataDir":%q,
	"subnet":"10.1.2.0/24","rangeStart":"10.1.2.9","rangeEnd":"10.1.2.200","gateway":"10.1.2.1","ranges":[[{"subnet":"fd00::/64","gateway":"fd00::fe"}]],
	"routes":[{"dst":"0.0.0.0/0"},{"dst":"10.0.0.0/8","gw":"10.1.2.3","mtu":1400,"advmss":1300,"priority":7,"table":0,"scope":253}],
	"exclude":["10.1.2.128/25"],"stickyKey":"K8S_POD_NAME","resolvConf":"/etc/hosts"},
	"runtimeConfig":{"ipRanges":[[{"subnet":"10.7.0.0/24"}]],"ips":["10.7.0.9"]},"args":{"cni":{"ips":["fd00::9"]}}}`

// TestNoPanic puts something else in the place of every value, in turn.
func TestNoPanic(t *testing.T) {
	netns := filepath.Join(t.TempDir(), "netns")
	must(t, os.WriteFile(netns, nil, 0o600))
	text := fmt.Sprintf(everything, t.TempDir())
	var whole any
	must(t, json.Unmarshal([]byte(text), &whole))
	refused, accepted := 0, 0
	vary(whole, func() {
		data, err := json.Marshal(whole)
		must(t, err)
		var c Conf
		call := ipam.Call{Attachment: name.Attachment{Network: "n", ContainerID: "c", IfName: "eth0"}, Netns: netns}
		err = errors.Join(conf.Decode(data, &c), conf.Validate(&c))
		// Also as on DEL, where validation has not been done or has stopped half-way.
		for _, err := range []error{err, c.Validate(call)} {
			if _, foreseen := c.Foresee(call); err != nil || foreseen != nil {
				refused++
				continue
			}
			accepted++
		}
	})
	if refused < 100 || accepted < 50 {
		t.Errorf("%d were refused, %d accepted: the test does not vary as it should", refused, accepted)
	}
}

// vary calls try with every value below v replaced by others.
func vary(v any, try func()) {
	replace := func(old any, set func(any)) {
		for _, other := range []any{nil, true, -1.5, "", "x", "::/0", "255.255.255.255/32", []any{}, []any{nil}, []any{[]any{nil}}, map[string]any{}} {
			set(other)
			try()
		}
		set(old)
		vary(old, try)
	}
	switch v := v.(type) {
	case map[string]any:
		for key, old := range v {
			replace(old, func(other any) { v[key] = other })
		}
	case []any:
		for i, old := range v {
			replace(old, func(other any) { v[i] = other })
		}
	}
}
