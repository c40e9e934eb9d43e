package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/catena-cni/catena/integration/node"
	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestExamples attaches two pods with each file of conflist-examples/ and expects of the packets what the file says.
func TestExamples(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(examples, "*.conflist"))
	must(t, err)
	if len(files) < 5 {
		t.Fatalf("found only %q", files)
	}
	for _, file := range files {
		if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), `"type": "bridge"`) {
			continue // TestPlugged has those that are not about a bridge
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			tryExample(t, file)
		})
	}
}

// TestExamplesAreListed keeps the table of conflist-examples/README.md complete.
func TestExamplesAreListed(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(examples)
	must(t, err)
	table := example(t, "README.md")
	for _, entry := range entries {
		if name := entry.Name(); name != "README.md" && !strings.Contains(table, "\n| ["+name+"]("+name+") | ") && !strings.Contains(table, "\n| ["+name+"]("+name+"/README.md) | ") {
			t.Errorf("the table has no line for %s", name)
		}
	}
	for _, line := range strings.Split(table, "\n| [")[1:] {
		_, name, _ := strings.Cut(line, "](")
		name, _, _ = strings.Cut(name, ")")
		example(t, name)
	}
}

// others are the networks that other software takes unless it is told otherwise, on hosts with pods.
var others = map[string][]string{
	"podman":                    {"10.88.0.0/16", "10.89.0.0/16", "10.90.0.0/15", "10.92.0.0/14", "10.96.0.0/11", "10.128.0.0/9"},
	"docker":                    {"172.17.0.0/16", "172.18.0.0/15", "172.20.0.0/14", "172.24.0.0/13", "192.168.0.0/16", "10.0.0.0/16"},
	"k3s":                       {"10.42.0.0/16", "10.43.0.0/16"},
	"flannel":                   {"10.244.0.0/16"},
	"kubeadm's services":        {"10.96.0.0/12"},
	"calico, libvirt, minikube": {"192.168.0.0/16"},
	"lxc":                       {"10.0.3.0/24"},
	"nerdctl":                   {"10.4.0.0/24"},
	"CRI-O":                     {"10.85.0.0/16"},
	"microk8s":                  {"10.1.0.0/16"},
	"weave":                     {"10.32.0.0/12"},
	"the classic guides":        {"10.22.0.0/16"},
}

// TestExamplesAreApart: no two networks of the examples have a subnet in common, nor one with a network that is there
// already on many hosts.
func TestExamplesAreApart(t *testing.T) {
	t.Parallel()
	taken := map[string][]netip.Prefix{}
	for who, subnets := range others {
		for _, subnet := range subnets {
			taken[who] = append(taken[who], netip.MustParsePrefix(subnet))
		}
	}
	files, err := filepath.Glob(filepath.Join(examples, "*.conflist"))
	must(t, err)
	subnet := regexp.MustCompile(`"(?:subnet|address)": "([^"]+)"`)
	for _, file := range files {
		name := filepath.Base(file)
		for _, match := range subnet.FindAllStringSubmatch(example(t, name), -1) {
			prefix, err := netip.ParsePrefix(match[1])
			must(t, err)
			for who, prefixes := range taken {
				for _, other := range prefixes {
					if who != name && other.Overlaps(prefix) {
						t.Errorf("%s has %s, of which %s has %s", name, prefix, who, other)
					}
				}
			}
			taken[name] = append(taken[name], prefix)
		}
	}
	if len(taken) < len(others)+18 {
		t.Errorf("subnets were found in %d files alone", len(taken)-len(others))
	}
}

// TestExamplesAreStrict: a slip in any object of an example that a plugin reads is an error, which runtimes show, and not
// a warning, which they keep.
func TestExamplesAreStrict(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(examples, "*.conflist"))
	must(t, err)
	n := newNode(t)
	must(t, n.WriteFile("/run/flannel/subnet.env", "FLANNEL_NETWORK=10.50.0.0/16\nFLANNEL_SUBNET=10.50.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"))
	for _, args := range lan {
		_, err := n.Run("ip", strings.Fields(args)...)
		must(t, err)
	}
	p := newPod(t, n, "p")
	before := text(t, n)
	for _, file := range files {
		var list struct {
			CNIVersion string
			Name       string
			Plugins    []map[string]any
		}
		must(t, json.Unmarshal([]byte(example(t, filepath.Base(file))), &list))
		for i, plugin := range list.Plugins {
			plugin["cniVersion"], plugin["name"] = list.CNIVersion, list.Name
			if i > 0 {
				plugin["prevResult"] = map[string]any{"cniVersion": list.CNIVersion}
			}
			for _, path := range []string{"", "ipam", "delegate"} {
				object := plugin
				if path != "" {
					object, _ = plugin[path].(map[string]any)
				}
				if len(object) == 0 {
					continue
				}
				object["xyzzy"] = 1
				conf, err := json.Marshal(plugin)
				must(t, err)
				delete(object, "xyzzy")
				out, err := byHand(n, "ADD", plugin["type"].(string), p.ID, p.Path, "eth0", string(conf))
				if err == nil || !strings.Contains(out, "unknown key") || !strings.Contains(out, "xyzzy") {
					t.Errorf("%s: a slip in %s's %s: %v: %s", filepath.Base(file), plugin["type"], path, err, out)
				}
			}
		}
	}
	noneLeft(t, n, before)
}

func tryExample(t *testing.T, file string) {
	text0, err := os.ReadFile(file)
	must(t, err)
	var says struct {
		Plugins []struct {
			Type          string
			Bridge        string
			IsGateway     bool
			IpMasq        bool
			PortIsolation bool
			Vlan          int
			Mtu           int
			Sysctl        map[string]string
			Capabilities  map[string]bool
		}
	}
	must(t, json.Unmarshal(text0, &says))
	bridge := says.Plugins[0]

	n := newNode(t)
	before := text(t, n)
	list, err := node.Load(file, "1.1.0")
	must(t, err)
	r := n.Runtime(nil, plugins)
	status := r.Status(list)
	a := node.Attachment{Pod: newPod(t, n, "a"), List: list, IfName: "eth0"}
	b := node.Attachment{Pod: newPod(t, n, "b"), List: list, IfName: "eth0"}
	for _, plugin := range says.Plugins {
		if plugin.Capabilities["portMappings"] {
			a.Ports = []node.Port{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}, {HostPort: 8080, ContainerPort: 80, Protocol: "udp"}}
		}
	}
	if bridge.Capabilities["ips"] {
		a.Caps = map[string]any{"ips": []string{"10.70.0.150/24"}, "mac": "02:11:22:33:44:55"}
	}
	resultA, err := r.Add(a)
	if _, lacks := n.Run("ip", "link", "add", "probe", "type", "bridge", "vlan_filtering", "1"); bridge.Vlan != 0 && lacks != nil {
		// This kernel knows no VLANs on bridges: all that can be had is errors that say so, and nothing left.
		for _, err := range []error{status, err} {
			if err == nil || !strings.Contains(strings.ToLower(err.Error()), "vlan") {
				t.Errorf("the kernel has no VLAN filtering, and the error is: %v", err)
			}
		}
		must(t, r.Del(a))
		must(t, a.Pod.Remove())
		must(t, b.Pod.Remove())
		noneLeft(t, n, before)
		kerneltest.Needs(t, "vlan filtering")
	}
	n.Run("ip", "link", "del", "probe")
	must(t, status)
	must(t, err)
	resultB, err := r.Add(b)
	must(t, err)
	must(t, r.Check(a))
	must(t, r.Check(b))

	if bridge.Capabilities["ips"] {
		if got := addrs(t, resultA, ""); len(got) != 1 || got[0] != "10.70.0.150" {
			t.Errorf("the wished address became %v", got)
		}
		if out, err := a.Pod.Run("ip", "link", "show", "dev", "eth0"); err != nil || !strings.Contains(out, "02:11:22:33:44:55") {
			t.Errorf("the wished MAC address is not there: %v: %s", err, out)
		}
	}
	if bridge.Vlan != 0 {
		out, err := n.Run("bridge", "vlan", "show")
		if want := fmt.Sprintf("%d PVID Egress Untagged", bridge.Vlan); err != nil || strings.Count(out, want) != 2 {
			t.Errorf("not both pods have %q: %v\n%s", want, err, out)
		}
	}
	for _, plugin := range says.Plugins[1:] {
		if plugin.Mtu != 0 {
			out, err := a.Pod.Run("ip", "-o", "link", "show", "dev", "eth0")
			if want := fmt.Sprintf(" mtu %d ", plugin.Mtu); err != nil || !strings.Contains(out, want) {
				t.Errorf("no %q: %v: %s", want, err, out)
			}
		}
		for key, value := range plugin.Sysctl {
			key = strings.ReplaceAll(strings.ReplaceAll(key, ".", "/"), "IFNAME", "eth0")
			if got, err := a.Pod.ReadFile("/proc/sys/" + key); err != nil || strings.Join(strings.Fields(got), " ") != value {
				t.Errorf("%s is %q, %v; want %q", key, got, err, value)
			}
		}
	}

	serve(t, &n.Outside, 80)
	serve(t, &a.Pod.Space, 80)
	for _, family := range []string{"4", "6"} {
		mine, others := addrs(t, resultA, family), addrs(t, resultB, family)
		if len(mine) == 0 {
			continue
		}
		if !bridge.PortIsolation {
			must(t, b.Pod.Ping(mine[0]))
		} else if b.Pod.Briefly().Ping(mine[0]) == nil {
			t.Error("isolated pods reach each other")
		}
		if !bridge.IsGateway {
			continue
		}
		if err := n.Ping(mine[0]); err != nil {
			t.Error(err)
		}
		nodeAddr, outside := node.Addr4, node.Outside4
		if family == "6" {
			nodeAddr, outside = node.Addr6, node.Outside6
		}
		sender := others[0]
		if bridge.IpMasq {
			sender = nodeAddr
		}
		for _, network := range []string{"tcp", "udp"} {
			seen(t, &b.Pod.Space, network, outside, 80, sender)
			if a.Ports != nil {
				seen(t, &n.Outside, network, nodeAddr, 8080, outside)
			}
		}
	}

	must(t, r.Del(a))
	must(t, r.Del(b))
	must(t, errors.Join(r.Del(a), r.Del(b)))
	must(t, r.GC(list))
	must(t, errors.Join(a.Pod.Remove(), b.Pod.Remove()))
	noneLeft(t, n, before, bridge.Bridge)
}

// TestGC takes away what a pod has left that nobody remembers, and nothing of one that lives.
func TestGC(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	before := text(t, n)
	list, err := node.Load(filepath.Join(examples, "10-kubernetes-node.conflist"), "1.1.0")
	must(t, err)
	r := n.Runtime(nil, plugins)
	live := node.Attachment{Pod: newPod(t, n, "live"), List: list, IfName: "eth0", Ports: []node.Port{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}}}
	result, err := r.Add(live)
	must(t, err)
	with := text(t, n)
	lost := node.Attachment{Pod: newPod(t, n, "lost"), List: list, IfName: "eth0", Ports: []node.Port{{HostPort: 8081, ContainerPort: 80, Protocol: "tcp"}}}
	_, err = r.Add(lost)
	must(t, err)
	must(t, r.Forget(lost))
	must(t, lost.Pod.Remove())
	must(t, r.GC(list, live))
	noneLeft(t, n, with, "cni0")
	must(t, r.Check(live))
	must(t, n.Ping(addrs(t, result, "4")[0]))
	must(t, r.Del(live))
	must(t, live.Pod.Remove())
	noneLeft(t, n, before, "cni0")
}
