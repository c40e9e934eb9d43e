package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// world is a sandbox with two networks in the pod and the built plugin, on a
// kernel that has had a VRF in that pod before: its rule for them stays.
type world struct {
	*kerneltest.Sandbox
	t   *testing.T
	bin string
}

func newWorld(t *testing.T) world {
	t.Helper()
	t.Parallel()
	kerneltest.Needs(t, "vrf")
	bin := kerneltest.Build(t, "plugins/meta/vrf")
	w := world{kerneltest.New(t), t, bin}
	w.Run(kerneltest.TwoNetworks)
	w.Run("pod ip link add first type vrf table 10; pod ip link del first")
	return w
}

func (w world) must(verb, keys string) kerneltest.Answer {
	w.t.Helper()
	return w.Must(kerneltest.Call{Bin: w.bin, Plugin: "vrf", Verb: verb, Conf: head + keys + "}"})
}

// extra makes a third interface of the pod.
func (w world) extra(name, address string) {
	w.Run(fmt.Sprintf(`ip link add h%[1]s type veth peer name %[1]s netns "$POD"; ip link set h%[1]s up; pod ip link set %[1]s up; pod ip addr add %[2]s dev %[1]s`, name, address))
}

// TestVerbs: the result is the one of the plugin before, and addresses and
// routes of both families are in the VRF.
func TestVerbs(t *testing.T) {
	w := newWorld(t)
	before := w.Text()
	w.must("STATUS", blue)
	a := w.must("ADD", blue)
	if !strings.Contains(a.Stdout, `"10.77.0.0/16"`) || strings.Contains(a.Stdout, "blue") {
		t.Errorf("the result is not the one of the plugin before: %s", a.Stdout)
	}
	w.Has("pod ip -d link show blue", "vrf table 1 ", "UP")
	w.Has("pod ip link show eth0", "master blue")
	w.Has("pod ip addr show eth0", "10.1.2.3/24", "fd00:1:2::3/64")
	w.Has("pod ip route show table 1", "via 10.1.2.1 dev eth0 weight 1", "via 10.1.2.2 dev eth0 weight 3", "10.1.2.0/24 dev eth0", "10.77.0.0/16 via 10.1.2.1 dev eth0 mtu 1400", "10.78.0.0/16 dev eth0 scope link metric 7", "unreachable default")
	w.Has("pod ip -6 route show table 1", "via fd00:1:2::1 dev eth0", "via fe80::1 dev eth0", "fd00:1:2::/64 dev eth0", "fd00:77::/48 via fd00:1:2::1 dev eth0 metric 9", "unreachable default")
	w.Lacks("pod ip route show table main; pod ip -6 route show table main", "eth0")
	w.must("CHECK", blue)
	w.must("GC", blue+`,"cni.dev/valid-attachments":[]`)
	w.must("CHECK", blue)
	w.must("DEL", blue)
	w.must("DEL", blue)
	w.Same("DEL", before, w.Text())
}

// TestOwnSubnetByGateway: a route to the subnet that goes by a gateway comes before
// the kernel's in the VRF's table too.
func TestOwnSubnetByGateway(t *testing.T) {
	w := newWorld(t)
	w.Run("pod ip route prepend 10.1.2.0/24 via 10.1.2.9 dev eth0")
	w.must("ADD", blue)
	w.Has("pod ip route get 10.1.2.77 vrf blue", "via 10.1.2.9 dev eth0")
	w.must("CHECK", blue)
	w.must("DEL", blue)
	w.Has("pod ip route get 10.1.2.77", "via 10.1.2.9 dev eth0")
}

// TestAddresses come through where the kernel would drop them, and after the
// look for duplicates that they are subject to. Leased ones stay leased.
func TestAddresses(t *testing.T) {
	w := newWorld(t)
	w.Run("pod ip addr add fd00:1:3::3/64 dev eth0; pod ip addr add fd00:1:4::3/64 dev eth0 valid_lft 3600 preferred_lft 1800 nodad; pod ip -6 route add fd00:88::/48 dev eth0 src fd00:1:2::3")
	w.Has("pod sysctl net.ipv6.conf.eth0.keep_addr_on_down net.ipv6.conf.all.keep_addr_on_down", "eth0.keep_addr_on_down = 0", "all.keep_addr_on_down = 0")
	keys := strings.Replace(blue, `"fd00:1:2::3/64"`, `"fd00:1:3::3/64"`, 1)
	w.must("ADD", keys)
	w.Has("pod ip -6 addr show eth0", "fd00:1:2::3/64 scope global nodad", "fd00:1:3::3/64", "fd00:1:4::3/64", "valid_lft 3")
	w.Lacks("pod ip -6 addr show eth0 scope global", "tentative")
	w.Has("pod ip -6 route show table 1", "fd00:1:3::/64 dev eth0", "fd00:88::/48 dev eth0 src fd00:1:2::3")
	w.must("DEL", keys)
	w.Has("pod ip -6 addr show eth0", "fd00:1:2::3/64", "fd00:1:3::3/64", "fd00:1:4::3/64")
}

// TestTakenTables: a free table is one that nothing uses, of either family.
func TestTakenTables(t *testing.T) {
	w := newWorld(t)
	w.Run("pod ip rule add from 10.66.0.1 lookup 1; pod ip -6 rule add from fd00:66::1 lookup 2; pod ip route add 10.66.0.0/16 dev mgmt0 table 3; pod ip -6 route add fd00:66::/48 dev mgmt0 table 4; pod ip link add red type vrf table 5")
	before := w.Text()
	w.must("ADD", blue)
	w.Has("pod ip -d link show blue", "vrf table 6 ")
	w.must("DEL", blue)
	w.Same("DEL", before, w.Text())
}

// TestSeveral: the device stays until the last of its interfaces goes.
func TestSeveral(t *testing.T) {
	w := newWorld(t)
	w.extra("net2", "10.6.0.2/24")
	before := w.Text()
	second := kerneltest.Call{Bin: w.bin, Plugin: "vrf", IfName: "net2", Conf: head + `,"vrfname":"blue","table":1001,"prevResult":{"cniVersion":"1.1.0","ips":[{"address":"10.6.0.2/24"}]}}`}
	w.must("ADD", blue+`,"table":1001`)
	w.Must(second)
	w.Has("pod ip link show master blue", "eth0", "net2")
	second.Verb = "CHECK"
	w.Must(second)
	w.must("DEL", blue)
	w.Must(second)
	second.Verb = "DEL"
	w.Must(second)
	w.Same("DEL", before, w.Text())
}

// TestTogether: ADDs and DELs of many interfaces at the same time make one
// device with all of them, and leave none.
func TestTogether(t *testing.T) {
	w := newWorld(t)
	const n = 6
	for i := range n {
		w.extra(fmt.Sprintf("e%d", i), fmt.Sprintf("10.5.%d.2/24", i))
	}
	before := w.Text()
	calls := func(verb string) (all []kerneltest.Call) {
		for i := range n {
			conf := head + fmt.Sprintf(`,"vrfname":"blue","prevResult":{"cniVersion":"1.1.0","ips":[{"address":"10.5.%d.2/24"}]}}`, i)
			all = append(all, kerneltest.Call{Bin: w.bin, Plugin: "vrf", Verb: verb, IfName: fmt.Sprintf("e%d", i), Conf: conf})
		}
		return all
	}
	for _, verb := range []string{"ADD", "CHECK", "DEL"} {
		w.Together(calls(verb)...)
	}
	w.Same("DEL", before, w.Text())
}

// TestDelWhenGone: whatever is gone needs nothing, and what is another's stays.
func TestDelWhenGone(t *testing.T) {
	for what, row := range map[string]struct{ gone, stays string }{
		"the interface": {"ip link del heth0", ""},
		"the device":    {"pod ip link del blue", ""},
		"both":          {"ip link del heth0; pod ip link del blue", ""},
		"the interface, to another vrf": {"pod ip link add red type vrf table 77; pod ip link set red up; pod ip link set eth0 master red",
			"master red"},
		"the device, for another of that name": {"pod ip link del blue; pod ip link add blue type dummy", ": blue:"},
		"the interface, and another is in":     {"ip link del heth0; pod ip link set mgmt0 master blue", "master blue"},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.must("ADD", blue)
			w.Run(row.gone)
			w.must("DEL", blue)
			w.must("DEL", blue)
			w.Has("pod ip link", row.stays)
			if row.stays == "" {
				w.Lacks("pod ip link", "blue")
			}
		})
	}
	t.Run("the namespace", func(t *testing.T) {
		w := newWorld(t)
		w.Must(kerneltest.Call{Bin: w.bin, Plugin: "vrf", Verb: "DEL", Netns: "/run/netns/gone", Conf: head + "}"})
	})
}

// TestFailedAdd: a device that was made for nothing goes, and the interface is
// out of it again with its routes. Somebody else on the segment has got one of
// its addresses meanwhile, which the kernel finds when it looks once more.
func TestFailedAdd(t *testing.T) {
	w := newWorld(t)
	w.Run(`pod ip addr add fd00:1:3::3/64 dev eth0
until ! pod ip addr show dev eth0 tentative | grep -q fd00:1:3::3; do sleep 0.05; done
pod ip -6 route add fd00:88::/48 dev eth0 src fd00:1:3::3; ip addr add fd00:1:3::3/64 dev heth0 nodad
until ip -6 route show table local | grep -q fd00:1:3::3; do sleep 0.05; done`)
	links, rules := w.Run("pod ip -br link"), w.Run("pod ip rule; pod ip -6 rule")
	routes := w.Run("pod ip -4 route show table all")
	a := w.Call(kerneltest.Call{Bin: w.bin, Plugin: "vrf", Conf: head + blue + "}"})
	if a.Exit == 0 || !strings.Contains(a.Msg, "fd00:1:3::3 is in use by somebody else") {
		t.Errorf("ADD: %d %s", a.Exit, a.Msg)
	}
	w.Same("a failed ADD", links, w.Run("pod ip -br link"))
	w.Same("a failed ADD", rules, w.Run("pod ip rule; pod ip -6 rule"))
	w.Same("a failed ADD", routes, w.Run("pod ip -4 route show table all"))
	w.Has("pod ip -6 route show table main", "fd00:77::/48 via fd00:1:2::1 dev eth0 metric 9", "via fe80::1 dev eth0")
}

// TestOtherRoutes: next hop objects, and routes in other tables, which the kernel
// drops too.
func TestOtherRoutes(t *testing.T) {
	w := newWorld(t)
	w.Run("pod ip nexthop add id 9 via 10.1.2.1 dev eth0; pod ip route add 10.89.0.0/16 nhid 9; pod ip route add 10.90.0.0/16 via 10.1.2.1 dev eth0 table 300; pod ip route add 10.77.0.0/16 via 10.1.2.1 dev eth0 mtu 1400 table 1001")
	w.must("ADD", blue+`,"table":1001`)
	w.Has("pod ip route show table 1001", "10.89.0.0/16 via 10.1.2.1 dev eth0", "10.77.0.0/16 via 10.1.2.1 dev eth0 mtu 1400")
	w.Has("pod ip route show table 300", "10.90.0.0/16 via 10.1.2.1 dev eth0")
	w.must("DEL", blue)
	w.Has("pod ip route show table main", "10.89.0.0/16 via 10.1.2.1 dev eth0")
	w.Has("pod ip route show table 300", "10.90.0.0/16 via 10.1.2.1 dev eth0")
}

// TestFallThrough: only who asks for it finds what the main table has.
func TestFallThrough(t *testing.T) {
	for keys, words := range map[string]string{"": "No route to host", `,"fallThrough":true`: "via 10.9.0.1 dev mgmt0"} {
		t.Run(words, func(t *testing.T) {
			w := newWorld(t)
			w.Run("pod ip route del default dev eth0")
			w.must("ADD", blue+keys)
			out, _ := w.Try("pod ip route get 192.0.2.1 oif blue 2>&1")
			if !strings.Contains(out, words) {
				t.Errorf("no %q: %s", words, out)
			}
		})
	}
}

// TestUpgrade: what upstream has made our verbs know, and what we have made
// upstream's DEL.
func TestUpgrade(t *testing.T) {
	upstream := filepath.Dir(kerneltest.Upstream(t, "vrf"))
	t.Run("ours after upstream's", func(t *testing.T) {
		w := newWorld(t)
		// Upstream takes no route by two ways, and none of link scope.
		w.Run("pod ip -6 route del default dev eth0; pod ip route del 10.78.0.0/16; pod ip route replace default via 10.1.2.1 dev eth0")
		before := w.Text()
		call := kerneltest.Call{Bin: upstream, Plugin: "vrf", Conf: strings.ReplaceAll(head+blue, "1.1.0", "1.0.0") + "}"}
		w.Must(call)
		call.Bin, call.Verb = w.bin, "CHECK"
		w.Must(call)
		call.Verb = "DEL"
		w.Must(call)
		w.Same("DEL", before, w.Text())
	})
	t.Run("upstream's after ours", func(t *testing.T) {
		w := newWorld(t)
		call := kerneltest.Call{Bin: w.bin, Plugin: "vrf", Conf: strings.ReplaceAll(head+blue, "1.1.0", "1.0.0") + "}"}
		w.Must(call)
		call.Bin, call.Verb = upstream, "DEL"
		w.Must(call)
		w.Lacks("pod ip link", "blue")
		w.Has("pod ip -6 addr show eth0", "eth0")
	})
}
