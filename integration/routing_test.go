package integration

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/integration/node"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/containernetworking/cni/libcni"
)

func load(t *testing.T, file string) *libcni.NetworkConfigList {
	t.Helper()
	list, err := node.Load(filepath.Join(examples, file), "1.1.0")
	must(t, err)
	return list
}

// TestSourceRouted gives a pod two networks with a default route each. Who asks it by the second, from far away, is
// answered by the second; with nothing but the addresses of the two the answer would go to the first, where it ends.
func TestSourceRouted(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	ip(t, &n.Space, lan...)
	ip(t, &n.Outside, "link set lan0 up", "addr add 172.16.83.1/24 dev lan0", "addr add fd00:83::1/64 dev lan0 nodad",
		"addr add 203.0.113.1/32 dev lo", "addr add 2001:db8:113::1/128 dev lo")
	// The first network does not know those who ask.
	ip(t, &n.Space, "route add blackhole 203.0.113.0/24", "-6 route add blackhole 2001:db8:113::/48")
	before := text(t, n)
	r := n.Runtime(nil, plugins)
	pod := newPod(t, n, "both")
	first := node.Attachment{Pod: pod, List: load(t, "10-kubernetes-node.conflist"), IfName: "eth0"}
	second := node.Attachment{Pod: pod, List: load(t, "10-source-routed.conflist"), IfName: "net1"}
	must(t, r.Status(second.List))
	_, err := r.Add(first)
	must(t, err)
	alone, err := pod.Run("ip", "-4", "route")
	must(t, err)
	alone6, err := pod.Run("ip", "-6", "route")
	must(t, err)
	result, err := r.Add(second)
	must(t, err)
	must(t, errors.Join(r.Check(first), r.Check(second)))
	if now, err := pod.Run("ip", "-4", "route"); err != nil || now != alone {
		t.Errorf("the first network's routes have changed: %v\n%s\nwere\n%s", err, now, alone)
	}
	if now, err := pod.Run("ip", "-6", "route"); err != nil || strings.Join(without(now, "dev net1", "fe80::/64"), "\n") != strings.Join(without(alone6, "fe80::/64"), "\n") {
		t.Errorf("the first network's routes have changed: %v\n%s\nwere\n%s", err, now, alone6)
	}
	asked := func() (errs []error) {
		for i, from := range []string{"203.0.113.1", "2001:db8:113::1"} {
			_, err := n.Outside.Run("ping", "-n", "-c", "1", "-W", "2", "-I", from, addrs(t, result, []string{"4", "6"}[i])[0])
			errs = append(errs, err)
		}
		return errs
	}
	must(t, errors.Join(asked()...))
	serve(t, &n.Outside, 80)
	for _, network := range []string{"tcp", "udp"} { // what says no source goes by the first
		seen(t, &pod.Space, network, node.Outside4, 80, node.Addr4)
	}
	must(t, pod.Ping("172.16.83.1"))

	// Without the rules the second network's packets take the first one's way.
	_, err = pod.Run("ip", "rule", "flush")
	must(t, err)
	_, err = pod.Run("ip", "rule", "add", "from", "all", "lookup", "main", "pref", "32766")
	must(t, err)
	if err := asked()[0]; err == nil {
		t.Error("the pod answers by the second network without a rule, so nothing is shown")
	}
	if err := r.Check(second); err == nil || !strings.Contains(err.Error(), "rules pod from") {
		t.Errorf("CHECK: %v", err)
	}
	must(t, r.Del(second))
	must(t, r.Del(second))
	if now, err := pod.Run("ip", "-4", "route"); err != nil || now != alone {
		t.Errorf("after DEL: %v\n%s", err, now)
	}
	// The rest goes with its namespace, as after a crash.
	_, err = r.Add(second)
	must(t, err)
	must(t, pod.Remove())
	must(t, errors.Join(r.Del(second), r.Del(first), r.GC(second.List)))
	if _, err := n.ReadFile(pod.Path); err == nil {
		t.Errorf("DEL made a file at %s", pod.Path)
	}
	noneLeft(t, n, before, "cni0")
}

// without are the lines of a text that have none of the words.
func without(text string, words ...string) (lines []string) {
	for line := range strings.SplitSeq(text, "\n") {
		keep := true
		for _, w := range words {
			keep = keep && !strings.Contains(line, w)
		}
		if keep {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestVRF gives a pod two networks with the very same addresses, each in a VRF of its own, and a third beside them.
func TestVRF(t *testing.T) {
	t.Parallel()
	kerneltest.Needs(t, "vrf")
	n := newNode(t)
	other := newPod(t, n, "other") // the outside of the second wire
	ip(t, &n.Space, lan...)
	ip(t, &n.Space, "link add eth1 type veth peer name lan0 netns other", "link set eth1 up")
	for i, space := range []*node.Space{&n.Outside, &other.Space} {
		ip(t, space, "link set lo up", "link set lan0 up", "addr add 172.16.84.1/24 dev lan0", "addr add fd00:84::1/64 dev lan0 nodad",
			"addr add 198.51.100."+[]string{"1", "2"}[i]+"/32 dev lo", "addr add 2001:db8:51::"+[]string{"1", "2"}[i]+"/128 dev lo")
	}
	before := text(t, n)
	r := n.Runtime(nil, plugins)
	pod := newPod(t, n, "both")
	red := strings.NewReplacer(`"name": "vrf"`, `"name": "red"`, `"eth0"`, `"eth1"`, `"blue"`, `"red"`).Replace(example(t, "10-vrf.conflist"))
	redList, err := node.Parse([]byte(red), "1.1.0")
	must(t, err)
	all := []node.Attachment{
		{Pod: pod, List: load(t, "10-kubernetes-node.conflist"), IfName: "eth0"},
		{Pod: pod, List: load(t, "10-vrf.conflist"), IfName: "net1"},
		{Pod: pod, List: redList, IfName: "net2"},
	}
	var got []string
	for _, a := range all {
		must(t, r.Status(a.List))
		result, err := r.Add(a)
		must(t, err)
		got = append(got, strings.Join(addrs(t, result, ""), " "))
	}
	if got[1] != got[2] {
		t.Errorf("the addresses do not overlap: %q and %q", got[1], got[2])
	}
	for _, a := range all {
		must(t, r.Check(a))
	}
	for device, row := range map[string]struct{ reaches, not []string }{
		"blue": {[]string{"172.16.84.1", "fd00:84::1", "198.51.100.1", "2001:db8:51::1"}, []string{"198.51.100.2", "2001:db8:51::2"}},
		"red":  {[]string{"172.16.84.1", "fd00:84::1", "198.51.100.2", "2001:db8:51::2"}, []string{"198.51.100.1", "2001:db8:51::1"}},
	} {
		ping := func(addr string) error {
			_, err := pod.Run("ping", "-n", "-c", "1", "-W", "2", "-I", device, addr)
			return err
		}
		for _, addr := range row.reaches {
			must(t, ping(addr))
		}
		for _, addr := range row.not {
			if ping(addr) == nil {
				t.Errorf("%s reaches %s, which is on the other network", device, addr)
			}
		}
	}
	must(t, pod.Ping(node.Outside4)) // by the first network

	must(t, r.Del(all[2]))
	must(t, r.Del(all[2]))
	must(t, errors.Join(r.Check(all[1]), r.Check(all[0])))
	if out, err := pod.Run("ip", "link"); err != nil || strings.Contains(out, "red") || !strings.Contains(out, "blue") {
		t.Errorf("after DEL of the one in red: %v\n%s", err, out)
	}
	must(t, pod.Remove())
	must(t, errors.Join(r.Del(all[1]), r.Del(all[0]), r.GC(all[1].List)))
	noneLeft(t, n, before, "cni0")
}
