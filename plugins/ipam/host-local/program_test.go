package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/ipam/hostlocal"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plugintest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// TestProgram runs what is shipped, once for each verb that changes something.
// All else is proven in internal/ipam/hostlocal and internal/ipam/lease.
func TestProgram(t *testing.T) {
	s := kerneltest.New(t)
	bin := kerneltest.Build(t, "plugins/ipam/host-local")
	dir := t.TempDir()
	conf := `{"cniVersion":"1.1.0","name":"n","type":"bridge","ipam":{"type":"host-local","dataDir":"` + dir + `","subnet":"10.1.2.0/24"}}`
	call := func(verb string) kerneltest.Answer {
		return s.Call(kerneltest.Call{Bin: bin, Plugin: "host-local", Verb: verb, Conf: conf})
	}
	lease := filepath.Join(dir, "n", "10.1.2.2")
	if a := call("ADD"); a.Exit != 0 || !strings.Contains(a.Stdout, "10.1.2.2/24") {
		t.Errorf("ADD: %+v", a)
	}
	if text, err := os.ReadFile(lease); string(text) != "c1\r\neth0" {
		t.Errorf("the lease is %q, %v", text, err)
	}
	if a := call("DEL"); a.Exit != 0 || a.Stdout != "" {
		t.Errorf("DEL: %+v", a)
	}
	if _, err := os.Stat(lease); !os.IsNotExist(err) {
		t.Errorf("the lease after DEL: %v", err)
	}
	var v struct {
		CNIVersion        string
		SupportedVersions []string
	}
	if err := json.Unmarshal([]byte(call("VERSION").Stdout), &v); err != nil || v.CNIVersion != "1.1.0" ||
		strings.Join(v.SupportedVersions, " ") != "0.1.0 0.2.0 0.3.0 0.3.1 0.4.0 1.0.0 1.1.0" {
		t.Errorf("%+v, %v", v, err)
	}
}

// FuzzConf: any configuration is read well, or refused well.
func FuzzConf(f *testing.F) { plugintest.FuzzIPAM(f, hostlocal.Plugin) }
