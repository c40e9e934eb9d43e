package hostlocal

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kerneltest"
)

// FuzzResolvConf: what is read of any text is words of it, and the same when it is written
// as such a file.
func FuzzResolvConf(f *testing.F) {
	f.Add("# of nobody\n; nor this\nnameserver 10.0.0.53\n\tnameserver  fd00::53 \ndomain a.example\nsearch x y\nsearch z\noptions ndots:5 rotate\nnameserver\n")
	f.Add("search " + strings.Repeat("a ", 10000))
	f.Add("nameserver\x00 x\nnameserver ;\r\noptions\v1\u00a02")
	f.Fuzz(func(t *testing.T, text string) {
		d := parseResolvConf(text)
		var lines []string
		for _, n := range d.Nameservers {
			lines = append(lines, "nameserver "+n)
		}
		lines = append(lines, "domain "+d.Domain, "search "+strings.Join(d.Search, " "), "options "+strings.Join(d.Options, " "))
		if again := parseResolvConf(strings.Join(lines, "\n")); !reflect.DeepEqual(again, d) {
			t.Errorf("%q: %+v, and again %+v", text, d, again)
		}
	})
}

// FuzzGive: a configuration of any content that is refused leaves the folder as it was; what one gives is held, is
// another's next time, and is gone with DEL.
func FuzzGive(f *testing.F) {
	for _, ipam := range []string{
		`{"subnet":"10.1.2.0/29"}`, `{"ranges":[[{"subnet":"10.1.2.0/24","rangeStart":"10.1.2.9","rangeEnd":"10.1.2.10"}],[{"subnet":"fd00::/64"}]],"exclude":["10.1.2.9"]}`,
		`{"subnet":"10.1.2.0/31"}`, `{"subnet":"10.1.2.0/32"}`, `{"subnet":"::ffff:10.1.2.0/120"}`, `{"ranges":[[]]}`, `{"ranges":[[{"subnet":"10.1.2.0/24"},{"subnet":"10.1.2.0/24"}]]}`,
		`{"subnet":"10.1.2.0/24","rangeStart":"10.1.3.1"}`, `{"subnet":"10.1.2.0/24","gateway":"10.1.2.2"}`, `{"subnet":"10.1.2.0/24","stickyKey":"K8S_POD_NAME","routes":[{"dst":"x"}]}`, `{}`,
	} {
		f.Add([]byte(ipam), "IgnoreUnknown=1;K8S_POD_NAME=p")
		f.Add([]byte(ipam), "IP=10.1.2.3")
	}
	f.Fuzz(func(t *testing.T, text []byte, args string) {
		var c map[string]any
		if json.Unmarshal(text, &c) != nil || c == nil {
			return
		}
		dir := t.TempDir()
		netns := filepath.Join(dir, "netns") // the pods live
		if err := os.WriteFile(netns, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for key := range c {
			if strings.EqualFold(key, "dataDir") || strings.EqualFold(key, "resolvConf") {
				delete(c, key) // the machine's own files are nobody's to try
			}
		}
		c["type"], c["dataDir"] = "host-local", dir
		call := func(verb, container string) (*cni.Result, error) {
			stdin, err := json.Marshal(map[string]any{"cniVersion": "1.1.0", "name": "n", "type": "bridge", "ipam": c})
			if err != nil {
				t.Fatal(err)
			}
			env := map[string]string{"CNI_COMMAND": verb, "CNI_CONTAINERID": container, "CNI_NETNS": netns, "CNI_IFNAME": "eth0", "CNI_ARGS": args}
			r, err := cni.Read(func(key string) string { return env[key] }, bytes.NewReader(stdin))
			if err != nil {
				t.Fatalf("%v: %s", err, stdin)
			}
			return Plugin.Do(r)
		}
		leases := func() (out []string) {
			files, _ := filepath.Glob(dir + "/n/*[0-9a-f:]")
			for _, file := range files {
				if _, err := netip.ParseAddr(filepath.Base(file)); err == nil {
					out = append(out, filepath.Base(file))
				}
			}
			return out
		}
		first, err := call(cni.Add, "c1")
		if kerneltest.Refused(t, err) {
			if left := leases(); left != nil {
				t.Errorf("refused, and there are %v", left)
			}
			return
		}
		if have := leases(); len(have) != len(first.IPs) || len(have) == 0 {
			t.Errorf("%v were given, and there are %v", first.IPs, have)
		}
		second, err := call(cni.Add, "c2")
		for _, ip := range first.IPs {
			if err == nil && slices.ContainsFunc(second.IPs, func(o *cni.IPConfig) bool { return o.Address.IP.Equal(ip.Address.IP) }) {
				t.Errorf("%v is given twice", ip)
			}
		}
		for _, container := range []string{"c1", "c2", "c2"} {
			if _, err := call(cni.Del, container); err != nil {
				t.Error(err)
			}
		}
		if left := leases(); left != nil {
			t.Errorf("after DEL there are %v", left)
		}
	})
}
