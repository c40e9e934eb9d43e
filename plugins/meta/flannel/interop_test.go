package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// flanneldMasquerades is a lease that leaves the bridge nothing to masquerade,
// which upstream's would execute iptables for.
var flanneldMasquerades = strings.Replace(dual, "IPMASQ=false", "IPMASQ=true", 1)

// install puts upstream's plugins into a folder.
func install(t *testing.T, bin string) {
	t.Helper()
	for _, name := range []string{"bridge", "host-local"} {
		path := filepath.Join(bin, name)
		_ = os.Remove(path)
		if err := os.Symlink(kerneltest.Upstream(t, name), path); err != nil {
			t.Fatal(err)
		}
	}
}

// bare fails the test for what a pod has left.
func (w world) bare() {
	w.t.Helper()
	w.keeps("")
	if out := w.Run("ip -br link | grep veth; pod ip -br link | grep eth0; ls -A /var/lib/cni/networks/n | grep -E '^(192|fd)'; true"); out != "" {
		w.t.Errorf("left behind:\n%s", out)
	}
}

// TestUpstreamBelow: the plugin that does the work can be upstream's.
func TestUpstreamBelow(t *testing.T) {
	w := newWorld(t)
	w.lease(flanneldMasquerades)
	install(t, w.bin)
	w.Must(w.flannel("STATUS", network("")))
	for _, last := range []string{"DEL", "GC"} {
		result := w.Must(w.flannel("ADD", network(""))).Stdout
		if !strings.Contains(result, "192.168.22.1") {
			t.Error(result)
		}
		w.Must(w.flannel("CHECK", network(prev(result))))
		// A second ADD fails in upstream's words, and harms nothing.
		if a := w.Call(w.flannel("ADD", network(""))); a.Exit == 0 {
			t.Error(a.Stdout)
		}
		w.Run("pod ip addr show eth0 | grep -q 192.168.22.1")
		w.keeps("c1")
		w.Must(w.flannel(last, network(`,"cni.dev/valid-attachments":[]`)))
		w.bare()
	}
	w.Must(w.flannel("DEL", network("")))
}

// TestUpgrade: what upstream's flannel has attached, by upstream's bridge, is
// detached by ours. Its file is the bridge's configuration and nothing else.
func TestUpgrade(t *testing.T) {
	for _, last := range []string{"DEL", "GC"} {
		t.Run(last, func(t *testing.T) {
			w := newWorld(t)
			w.lease(flanneldMasquerades)
			ours := w.bin
			w.bin = t.TempDir()
			install(t, w.bin)
			file := `{"cniVersion":"1.0.0","hairpinMode":true,"ipMasq":false,"ipam":{"ranges":[[{"subnet":"192.168.22.128/26"}],[{"subnet":"fd00:42:0:1::/64"}]],` +
				`"routes":[{"dst":"192.168.0.0/16"}],"type":"host-local"},"isGateway":true,"mtu":1450,"name":"n","type":"bridge"}`
			w.write(stateDir+"c1", file)
			result := w.Must(kerneltest.Call{Bin: w.bin, Plugin: "bridge", Conf: file}).Stdout
			w.bin = ours
			if last == "DEL" {
				w.Must(w.flannel("DEL", network(prev(result))))
			} else {
				w.Run(`umount "$POD"; until [ -z "$(ip -br link | grep veth)" ]; do sleep 0.01; done; touch "$POD"`)
				w.Must(w.flannel("GC", network(`,"cni.dev/valid-attachments":[]`)))
				w.NewPod(w.Pod)
			}
			w.bare()
		})
	}
}

// TestBackToUpstream: what ours keeps is what upstream's flannel hands on.
func TestBackToUpstream(t *testing.T) {
	w := newWorld(t)
	w.lease(flanneldMasquerades)
	w.Must(w.flannel("ADD", network(`,"delegate":{"hairpinMode":true}`)))
	install(t, w.bin)
	w.Must(kerneltest.Call{Bin: w.bin, Plugin: "bridge", Verb: "DEL", Conf: w.Run("cat " + stateDir + "c1")})
	w.Run("rm " + stateDir + "c1")
	w.bare()
}
