package integration

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/integration/node"
	"github.com/catena-cni/catena/internal/kerneltest"
)

// plugged is an example whose pods are on the network outside, or beside the bridge.
type plugged struct {
	name, example string
	needs         []string
	// lan prepares the wire: eth0 of the node ends in lan0 of the outside.
	node, outside []string
	// gateway4 and gateway6 are what pods ping outside.
	gateway4, gateway6 string
	// single networks have room for one pod.
	single bool
	// lonely pods reach nobody.
	lonely bool
	// host says that the node itself reaches the pods.
	host bool
	// wishes are the addresses that the runtime asks for the second pod.
	wishes []string
}

var lan = []string{"link add eth0 type veth peer name lan0 netns outside", "link set eth0 up"}

// TestPlugged attaches pods with the plugins beside bridge, and sends packets between them and to the outside.
func TestPlugged(t *testing.T) {
	t.Parallel()
	for _, p := range []plugged{
		{name: "ptp", example: "10-ptp-routed.conflist", gateway4: node.Outside4, gateway6: node.Outside6, host: true},
		{name: "macvlan", example: "10-macvlan.conflist", node: lan,
			outside:  []string{"link set lan0 up", "addr add 172.16.77.1/24 dev lan0", "addr add fd00:77::1/64 dev lan0 nodad"},
			gateway4: "172.16.77.1", gateway6: "fd00:77::1"},
		{name: "static", example: "10-static.conflist", node: lan, wishes: []string{"172.16.66.21/24", "fd00:66::21/64"},
			outside:  []string{"link set lan0 up", "addr add 172.16.66.1/24 dev lan0", "addr add fd00:66::1/64 dev lan0 nodad"},
			gateway4: "172.16.66.1", gateway6: "fd00:66::1"},
		{name: "ipvlan", example: "10-ipvlan-l3.conflist", needs: []string{"ipvlan"},
			node: append(lan[:2:2], "addr add 172.16.78.2/24 dev eth0", "addr add fd00:7800::2/64 dev eth0 nodad"),
			outside: []string{"link set lan0 up", "addr add 172.16.78.1/24 dev lan0", "addr add fd00:7800::1/64 dev lan0 nodad",
				"route add 10.78.0.0/24 via 172.16.78.2", "route add fd00:78::/64 via fd00:7800::2"},
			gateway4: "172.16.78.1", gateway6: "fd00:7800::1"},
		{name: "vlan", example: "10-vlan.conflist", needs: []string{"vlan"}, node: lan, single: true,
			outside: []string{"link set lan0 up", "link add lan100 link lan0 type vlan id 100", "link set lan100 up",
				"addr add 172.16.79.1/24 dev lan100", "addr add fd00:79::1/64 dev lan100 nodad"},
			gateway4: "172.16.79.1", gateway6: "fd00:79::1"},
		{name: "dummy", example: "10-dummy.conflist", needs: []string{"dummy"}, lonely: true},
	} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			if p.needs != nil {
				kerneltest.Needs(t, p.needs...)
			}
			p.try(t)
		})
	}
}

func (p plugged) try(t *testing.T) {
	n := newNode(t)
	for _, args := range p.node {
		_, err := n.Run("ip", strings.Fields(args)...)
		must(t, err)
	}
	for _, args := range p.outside {
		_, err := n.Outside.Run("ip", strings.Fields(args)...)
		must(t, err)
	}
	before := text(t, n)
	list, err := node.Load(filepath.Join(examples, p.example), "1.1.0")
	must(t, err)
	r := n.Runtime(nil, plugins)
	must(t, r.Status(list))
	a := node.Attachment{Pod: newPod(t, n, "a"), List: list, IfName: "eth0"}
	b := node.Attachment{Pod: newPod(t, n, "b"), List: list, IfName: "eth0"}
	if p.wishes != nil {
		b.Caps = map[string]any{"ips": p.wishes}
	}
	resultA, err := r.Add(a)
	must(t, err)
	must(t, r.Check(a))
	attached := []node.Attachment{a}
	if p.single {
		p.second(t, r, b)
	} else {
		resultB, err := r.Add(b)
		must(t, err)
		must(t, r.Check(b))
		attached = append(attached, b)
		for i, wish := range p.wishes {
			if got := addrs(t, resultB, ""); len(got) != len(p.wishes) || !strings.HasPrefix(wish, got[i]+"/") {
				t.Errorf("of %q the pod got %q", p.wishes, got)
			}
		}
		for _, addr := range addrs(t, resultB, "") {
			if !p.lonely {
				must(t, a.Pod.Ping(addr))
			} else if a.Pod.Briefly().Ping(addr) == nil {
				t.Error("lonely pods reach each other")
			}
		}
	}
	if !p.lonely {
		serve(t, &n.Outside, 80)
		serve(t, &a.Pod.Space, 80)
		for i, gateway := range []string{p.gateway4, p.gateway6} {
			mine := addrs(t, resultA, []string{"4", "6"}[i])[0]
			must(t, a.Pod.Ping(gateway))
			must(t, n.Outside.Ping(mine))
			for _, network := range []string{"tcp", "udp"} {
				seen(t, &a.Pod.Space, network, gateway, 80, mine)
				if _, err := n.Outside.Ask(network, mine, 80); err != nil {
					t.Errorf("from the outside to the pod: %v", err)
				}
			}
			if p.host {
				must(t, n.Ping(mine))
			}
		}
	}
	// The first loses its namespace before DEL, as after a crash of the runtime.
	must(t, a.Pod.Remove())
	for _, x := range attached {
		must(t, r.Del(x))
		must(t, r.Del(x))
	}
	must(t, r.GC(list))
	must(t, b.Pod.Remove())
	noneLeft(t, n, before)
}

// second is refused by a network with room for one pod, and told what to use instead.
func (p plugged) second(t *testing.T, r *node.Runtime, b node.Attachment) {
	t.Helper()
	_, err := r.Add(b)
	if err == nil || !strings.Contains(err.Error(), "VLAN") {
		t.Errorf("a second pod: %v", err)
	}
	must(t, errors.Join(r.Del(b)))
}

// TestPluggedTwice gives one pod interfaces of two networks.
func TestPluggedTwice(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, args := range lan {
		_, err := n.Run("ip", strings.Fields(args)...)
		must(t, err)
	}
	for _, args := range []string{"link set lan0 up", "addr add 172.16.77.1/24 dev lan0", "addr add fd00:77::1/64 dev lan0 nodad"} {
		_, err := n.Outside.Run("ip", strings.Fields(args)...)
		must(t, err)
	}
	before := text(t, n)
	r := n.Runtime(nil, plugins)
	p := newPod(t, n, "both")
	var all []node.Attachment
	for i, file := range []string{"10-single-host.conflist", "10-macvlan.conflist"} {
		list, err := node.Load(filepath.Join(examples, file), "1.1.0")
		must(t, err)
		if i == 1 {
			// One default route is enough.
			list, err = node.Parse([]byte(strings.NewReplacer(`{ "dst": "0.0.0.0/0" },`, "", `{ "dst": "::/0" }`, "").Replace(example(t, file))), "1.1.0")
			must(t, err)
		}
		a := node.Attachment{Pod: p, List: list, IfName: []string{"eth0", "net1"}[i]}
		_, err = r.Add(a)
		must(t, err)
		all = append(all, a)
	}
	for _, a := range all {
		must(t, r.Check(a))
	}
	must(t, p.Ping("10.87.0.1"))
	must(t, p.Ping("172.16.77.1"))
	must(t, p.Ping("fd00:77::1"))
	must(t, r.Del(all[1]))
	must(t, r.Check(all[0]))
	must(t, p.Ping("10.87.0.1"))
	must(t, r.Del(all[0]))
	must(t, p.Remove())
	noneLeft(t, n, before, "cni0")
}
