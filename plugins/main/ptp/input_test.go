package main

import (
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// TestBadInput: a clear error, and nothing has changed.
func TestBadInput(t *testing.T) {
	const ipam = `,"ipam":{"type":"host-local","subnet":"10.1.2.0/24"}`
	// What host-local keeps when it has given an address and got it back.
	const asked = "mkdir -p /var/lib/cni/networks/n; touch /var/lib/cni/networks/n/lock /var/lib/cni/networks/n/last_reserved_ip.0"
	for _, row := range []struct {
		name, more, setup string
		code              uint
		words             string // separated by bars
	}{
		{"no IPAM", ``, "", 7, "ptp|ipam"},
		{"no IPAM plugin", `,"ipam":{"type":"nowhere"}`, "", 102, `find plugin "nowhere"`},
		{"IPAM refuses", `,"ipam":{"type":"host-local","subnet":"10.1.2.0/33"}`, "", 7, "10.1.2.0/33"},
		{"wrong type", `,"ipMasq":"yes"` + ipam, "", 6, "ipMasq|true or false"},
		{"unknown backend", `,"ipMasqBackend":"pf"` + ipam, "", 7, "ipMasqBackend|pf|nftables"},
		{"negative mtu", `,"mtu":-1` + ipam, "", 6, "mtu is -1"},
		{"mtu auto without a default route", `,"mtu":"auto"` + ipam, asked, 100, "mtu auto|no default route"},
		{"mtu that the kernel refuses", `,"mtu":67` + ipam, asked, 100, "67"},
		{"interface exists", ipam, "pod ip link add eth0 type veth peer name x", 101, "eth0|already"},
		{"unknown key, strict", `,"strict":true,"ipMsaq":true` + ipam, "", 2, "did you mean ipMasq"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			bin := kerneltest.Build(t, "plugins/main/ptp", "plugins/ipam/host-local")
			s := kerneltest.New(t)
			if row.setup != "" {
				s.Run(row.setup)
			}
			s.Refuses(kerneltest.Call{Bin: bin, Plugin: "ptp", Conf: `{"cniVersion":"1.0.0","name":"n","type":"ptp"` + row.more + `}`}, row.code, strings.Split(row.words, "|")...)
		})
	}
}
