package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"

	"github.com/catena-cni/catena/integration/node"
	"github.com/catena-cni/catena/internal/kerneltest"
)

// upgrade is a chain whose pods upstream's plugins attach, and ours take over.
type upgrade struct {
	name    string
	plugins string // the list's, in JSON
	// later is what the list has become by then, where it is another.
	later string
	needs []string
	// node prepares the node.
	node  []string
	ports []node.Port
	// bridges are shared by the pods.
	bridges []string
	// shared chains leave a link that all pods of upstream's plugins share.
	shared bool
}

// Upstream waits for the search for duplicates of an IPv6 address, on a tap in vain: bridge alone has one.
const (
	ipam4   = `"ipam":{"type":"host-local","subnet":"10.66.0.0/24","routes":[{"dst":"0.0.0.0/0"}]}`
	ipamOf  = `"ipam":{"type":"host-local","ranges":[[{"subnet":"10.66.0.0/24"}],[{"subnet":"fd00:66::/64"}]],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}`
	mapped  = `{"type":"portmap","capabilities":{"portMappings":true}BACKEND}`
	bridgeB = `{"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":true,"hairpinMode":true` + `MASQ,` + ipamOf + `}`
	ptpB    = `{"type":"ptp","ipMasq":true` + `MASQ,` + ipam4 + `}`
)

// backed names the backends of a list.
func backed(plugins, backend string) string {
	masq, ports := "", ""
	if backend != "" {
		masq, ports = `,"ipMasqBackend":"`+backend+`"`, `,"backend":"`+backend+`"`
	}
	return strings.NewReplacer("MASQ", masq, "BACKEND", ports).Replace(plugins)
}

// filtered are chains with rules of the packet filter.
func filtered() (all []upgrade) {
	for _, c := range []struct{ name, theirs, ours string }{
		{"its default to ours", "", ""}, {"iptables", "iptables", "iptables"}, {"nftables", "nftables", "nftables"},
		{"nftables to iptables", "nftables", "iptables"},
	} {
		for _, head := range []struct{ name, conf, bridge string }{{"bridge", bridgeB, "cni0"}, {"ptp", ptpB, ""}} {
			if head.name == "ptp" && c.theirs == c.ours && c.ours != "" {
				continue // it has bridge's masquerading
			}
			chain := head.conf + "," + mapped
			all = append(all, upgrade{
				name: head.name + " and portmap, " + c.name, plugins: backed(chain, c.theirs), later: backed(chain, c.ours),
				ports: both(8080, 80), bridges: []string{head.bridge},
			})
		}
	}
	spoof := strings.Replace(backed(bridgeB, ""), `"hairpinMode":true`, `"macspoofchk":true`, 1)
	return append(all, upgrade{name: "bridge with macspoofchk", plugins: spoof, bridges: []string{"cni0"}})
}

// kinds are plugins and links of every kind.
func kinds() []upgrade {
	tuned := backed(bridgeB, "") + `,{"type":"tuning","mtu":1400,"promisc":true,"mac":"02:11:22:33:44:55","sysctl":{"net.ipv4.conf.IFNAME.log_martians":"1"}}`
	on := `"master":"eth0",` + ipam4
	return []upgrade{
		{name: "bridge and tuning", plugins: tuned, bridges: []string{"cni0"}},
		{name: "bridge and bandwidth", needs: []string{"shaping"}, bridges: []string{"cni0"}, plugins: backed(bridgeB, "") +
			`,{"type":"bandwidth","ingressRate":10000000,"ingressBurst":1000000,"egressRate":20000000,"egressBurst":1000000}`},
		{name: "bridge and sbr", bridges: []string{"cni0"}, plugins: backed(bridgeB, "") + `,{"type":"sbr"}`},
		{name: "bridge and vrf", needs: []string{"vrf"}, bridges: []string{"cni0"}, plugins: backed(bridgeB, "") + `,{"type":"vrf","vrfname":"blue"}`},
		{name: "bridge with a VLAN", needs: []string{"vlan filtering"}, bridges: []string{"cni0", "cni0.100"}, shared: true,
			plugins: strings.Replace(backed(bridgeB, ""), `"hairpinMode":true`, `"vlan":100`, 1)},
		{name: "macvlan", node: lan, plugins: `{"type":"macvlan",` + on + `}`},
		{name: "ipvlan", node: lan, needs: []string{"ipvlan"}, plugins: `{"type":"ipvlan",` + on + `}`},
		{name: "vlan", node: lan, needs: []string{"vlan"}, plugins: `{"type":"vlan","vlanId":7,` + on + `}`},
		{name: "dummy", needs: []string{"dummy"}, plugins: `{"type":"dummy",` + ipam4 + `}`},
		{name: "tap", plugins: `{"type":"tap",` + ipam4 + `}`},
	}
}

func (u upgrade) list(t *testing.T, plugins string) *libcni.NetworkConfigList {
	t.Helper()
	list, err := node.Parse([]byte(`{"cniVersion":"1.1.0","name":"upgraded","plugins":[`+plugins+`]}`), "")
	must(t, err)
	return list
}

// upstream is a folder with upstream's plugins.
func upstream(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"bridge", "ptp", "macvlan", "ipvlan", "vlan", "dummy", "tap", "host-device", "host-local", "portmap", "tuning", "bandwidth", "sbr", "vrf"} {
		must(t, os.Symlink(kerneltest.Upstream(t, name), filepath.Join(dir, name)))
	}
	return dir
}

// theirs are names that upstream's plugins, and the iptables backends, give.
var theirs = regexp.MustCompile(`(?m)^.*(CNI-|cni-br-iface|cni_hostport|cni_plugins|\bbwp|/run/cni/tuning/.+).*$`)

// TestUpgrade: pods that upstream's plugins have attached are checked, detached and collected by ours with nothing left.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	takeOver(t, filtered())
}

// TestUpgradeKinds is the same for links of every kind, of which some need the second kernel.
func TestUpgradeKinds(t *testing.T) {
	t.Parallel()
	takeOver(t, kinds())
}

func takeOver(t *testing.T, all []upgrade) {
	t.Helper()
	old := upstream(t)
	for _, u := range all {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			if u.needs != nil {
				kerneltest.Needs(t, u.needs...)
			}
			for _, way := range []string{"DEL", "DEL without the result", "DEL without the namespace's path", "DEL when the pod is gone", "GC"} {
				t.Run(way, func(t *testing.T) {
					t.Parallel()
					u.try(t, old, way)
				})
			}
		})
	}
}

func (u upgrade) try(t *testing.T, old, way string) {
	n := newNode(t)
	for _, args := range u.node {
		_, err := n.Run("ip", strings.Fields(args)...)
		must(t, err)
	}
	if u.shared {
		first := node.Attachment{Pod: newPod(t, n, "c0"), List: u.list(t, u.plugins), IfName: "eth0"}
		_, err := n.Runtime(nil, old).Add(first)
		must(t, err)
		must(t, n.Runtime(nil, old).Del(first))
		must(t, first.Pod.Remove())
	}
	before := text(t, n)
	if u.later == "" {
		u.later = u.plugins
	}
	made := node.Attachment{Pod: newPod(t, n, "c1"), List: u.list(t, u.plugins), IfName: "eth0", Ports: u.ports}
	a := made
	a.List = u.list(t, u.later)
	r := n.Runtime(nil, plugins)
	_, err := n.Runtime(nil, old).Add(made)
	must(t, err)
	must(t, r.Check(a))
	if u.ports != nil {
		// Another pod comes while the first is still upstream's, and another goes.
		b := node.Attachment{Pod: newPod(t, n, "c2"), List: a.List, IfName: "eth0", Ports: both(8081, 80)}
		_, err := r.Add(b)
		must(t, err)
		must(t, r.Check(a))
		must(t, r.Del(b))
		must(t, b.Pod.Remove())
		must(t, r.Check(a))
		server, err := a.Pod.Serve(80)
		must(t, err)
		for _, network := range []string{"tcp", "udp"} {
			seen(t, &n.Outside, network, node.Addr4, 8080, node.Outside4)
			if u.bridges[0] != "" {
				seen(t, &n.Outside, network, node.Addr6, 8080, node.Outside6)
			}
		}
		server.Close() // which would keep the namespace alive
	}

	switch way {
	case "DEL without the result":
		must(t, r.Forget(a))
	case "DEL without the namespace's path":
		gone := *a.Pod
		gone.Path = ""
		a.Pod = &gone
	case "DEL when the pod is gone":
		must(t, a.Pod.Remove())
	case "GC":
		must(t, r.Forget(a))
		must(t, a.Pod.Remove())
		linksGone(t, n, before)
		must(t, r.GC(a.List))
	}
	if way != "GC" {
		must(t, r.Del(a))
		must(t, r.Del(a))
	}
	_ = made.Pod.Remove()
	linksGone(t, n, before)
	after := text(t, n)
	if _, left := node.Left(before, after, u.bridges...); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	if left := theirs.FindAllString(after, -1); left != nil {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

// linksGone waits until the kernel has removed what went with a namespace: links of upstream's that were not there before.
func linksGone(t *testing.T, n *node.Node, before string) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; {
		links, err := n.Run("ip", "-o", "link")
		must(t, err)
		there := slices.DeleteFunc(upstreamsLink.FindAllString(links, -1), func(link string) bool { return strings.Contains(before, link) })
		if len(there) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q of the pod are still there:\n%s", there, links)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

var upstreamsLink = regexp.MustCompile(`\bveth[0-9a-f]{8}\b`)
