package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/cni/conf"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plugin"
	"github.com/catena-cni/catena/internal/plugin/delegated"
	"github.com/catena-cni/catena/internal/plugintest"
)

const dual = classic + "FLANNEL_IPV6_NETWORK=fd00:42::/56\nFLANNEL_IPV6_SUBNET=fd00:42:0:1::1/64\n"

// composed is what flannel makes of its configuration and of a lease. Without a
// lease it is what can be said all the same.
func composed(t *testing.T, config, env string) delegated.Conf {
	t.Helper()
	file := filepath.Join(t.TempDir(), "subnet.env")
	if env != "" {
		if err := os.WriteFile(file, []byte(env), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := cni.Read(func(key string) string { return map[string]string{"CNI_COMMAND": cni.GC}[key] }, strings.NewReader(config))
	if err != nil && !strings.Contains(err.Error(), "GC exists from") {
		t.Fatal(err)
	}
	var c Conf
	if err := conf.Decode(r.Stdin, &c); err != nil {
		t.Fatal(err)
	}
	if err := validate(&plugin.Call{}, &c); err != nil {
		t.Fatal(err)
	}
	c.SubnetFile = file
	d, err := compose(r, c)
	if (err != nil) != (env == "") {
		t.Fatal(err)
	}
	return d
}

func TestCompose(t *testing.T) {
	for name, c := range map[string]struct{ config, env string }{
		"classic": {`{"name":"mynet","type":"flannel"}`, classic},
		"dual":    {`{"cniVersion":"1.0.0","name":"mynet","type":"flannel"}`, dual},
		"masquerading flanneld": {`{"cniVersion":"1.0.0","name":"mynet","type":"flannel","delegate":{"hairpinMode":true,"isDefaultGateway":true}}`,
			strings.Replace(classic, "=false", "=true", 1)},
		"no lease": {`{"cniVersion":"1.0.0","name":"mynet","type":"flannel","ipam":{"dataDir":"/x"}}`, ""},
		// What the user says comes before flanneld's, whatever the case of the keys.
		"everything": {`{"cniVersion":"1.1.0","name":"mynet","type":"flannel",
			"delegate":{"Bridge":"br7","IPMASQ":false,"MTU":1400,"isgateway":false,"cniversion":"0.3.1","big":9007199254740993,"mac":null},
			"ipam":{"Ranges":[[{"subnet":"10.9.0.0/16"}]],"routes":[{"dst":"10.8.0.0/16","gw":"192.168.22.190","mtu":1300}],"dataDir":"/x"},
			"capabilities":{"mac":true},"runtimeConfig":{"mac":"02:00:00:00:00:01"},"args":{"cni":{"ips":["192.168.22.140"]}},"dns":{"nameservers":["10.1.1.1"]},
			"prevResult":{"cniVersion":"1.1.0"},"unknown":1,"strict":false}`, dual},
		"other plugins": {`{"cniVersion":"1.0.0","name":"mynet","type":"flannel","delegate":{"type":"macvlan","master":"eth0","dns":{"domain":"x"},"args":{}},
			"ipam":{"type":"dhcp"},"dns":{"nameservers":["10.1.1.1"]},"args":{"cni":{}}}`, classic},
		"another version below": {`{"name":"mynet","type":"flannel","delegate":{"cniVersion":"0.4.0"}}`, classic},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := json.MarshalIndent(composed(t, c.config, c.env), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			kerneltest.Golden(t, "testdata/"+strings.ReplaceAll(name, " ", "-")+".json", string(text)+"\n")
		})
	}
}

// TestHolds speaks of subnets that have changed, and of nothing else.
func TestHolds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "subnet.env")
	if err := os.WriteFile(file, []byte(classic), 0o600); err != nil {
		t.Fatal(err)
	}
	for made, holding := range map[string]bool{
		`{"ipam":{"type":"host-local","ranges":[[{"subnet":"192.168.22.128/26"}]]}}`: true,
		`{"ipam":{"type":"host-local","ranges":[[{"subnet":"192.168.22.0/26"}]]}}`:   false,
		`{"ipam":{"type":"dhcp"}}`: true,
		`{}`:                       true,
	} {
		var d delegated.Conf
		if err := json.Unmarshal([]byte(made), &d); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]bool{file: holding, file + ".absent": true} {
			if err := holds(Conf{SubnetFile: path}, d); (err == nil) != want {
				t.Errorf("%s with %s: %v", made, path, err)
			}
		}
	}
}

// FuzzConf: any configuration is read well, or refused well.
func FuzzConf(f *testing.F) { plugintest.FuzzDelegator(f, flannel) }
