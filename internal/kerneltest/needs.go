package kerneltest

import (
	"os"
	"sync"
	"testing"
)

// SecondKernel begins the reason of every test that is left to another kernel.
// integration/test.sh looks for it: what is left here must pass there.
const SecondKernel = "left to the second kernel, for "

// Feature begins the line of every test that needs one which this kernel has.
const Feature = "needs of the kernel: "

// probes find out whether this kernel has a feature.
var probes = map[string]string{
	"ipvlan":         "ip link add probe0 type veth peer name probe1 && ip link add probe2 link probe0 type ipvlan mode l2",
	"vlan":           "ip link add probe0 type veth peer name probe1 && ip link add probe2 link probe0 type vlan id 5",
	"dummy":          "ip link add dev probe0 type dummy",
	"vrf":            "ip link add dev probe0 type vrf table 10",
	"vxlan":          "ip link add dev probe0 type vxlan id 1 dstport 8472",
	"shaping":        "ip link add dev probe0 type ifb && tc qdisc add dev probe0 root tbf rate 1mbit burst 10kb latency 10ms",
	"fq_codel":       "tc qdisc add dev lo root fq_codel",
	"prio":           "tc qdisc add dev lo root prio bands 2 priomap 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
	"vlan filtering": "ip link add dev probe0 type bridge vlan_filtering 1",
	// The module changes what the bridges of the whole machine do, so it is loaded on the second kernel alone.
	"bridge netfilter": "[ -e /proc/sys/net/bridge ] || { [ -n \"$VMTEST_VM\" ] && modprobe -q br_netfilter; }",
	// In a sandbox the program does not find what would load the modules of its tables.
	"older iptables": "modprobe -q -a ip_tables ip6_tables iptable_filter ip6table_filter; iptables-legacy -t nat -S && ip6tables-legacy -t nat -S",
	"tun":            "ip tuntap add mode tap name probe0",
	"sctp":           "grep -q ^sctp /proc/modules || modprobe -q sctp || [ -e /proc/net/sctp ]",
}

// found holds what the probes of this process have found out.
var found = struct {
	sync.Mutex
	lacks map[string]error
}{lacks: map[string]error{}}

// lacks probes for a feature, once.
func lacks(t testing.TB, feature string) error {
	t.Helper()
	found.Lock()
	defer found.Unlock()
	err, known := found.lacks[feature]
	if known {
		return err
	}
	probe, known := probes[feature]
	if !known {
		t.Fatalf("nobody knows how to look for %s", feature)
	}
	_, err = New(t).Try("unshare -n sh -c '" + probe + "'")
	found.lacks[feature] = err
	return err
}

// Needs leaves the calling test to the second kernel where this one lacks a
// feature. On the second kernel that is an error.
func Needs(t testing.TB, features ...string) {
	t.Helper()
	for _, f := range features {
		switch err := lacks(t, f); {
		case err == nil:
			t.Log(Feature + f)
		case plain():
			t.Skip("needs root or another kernel, for " + f + theRest)
		case os.Getenv("VMTEST_VM") != "":
			t.Fatalf("the second kernel lacks %s too: %v", f, err)
		default:
			t.Skip(SecondKernel + f)
		}
	}
}
