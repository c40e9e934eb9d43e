package integration

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/catena-cni/catena/integration/node"
	"github.com/catena-cni/catena/internal/kerneltest"
)

// behind is the chain of an operator's choice of backend, or none.
func behind(t *testing.T, backend string) upgrade {
	t.Helper()
	chain := backed(bridgeB+","+mapped, backend)
	return upgrade{plugins: chain, ports: both(8080, 80), bridges: []string{"cni0"}}
}

func (u upgrade) attachment(t *testing.T, n *node.Node, id string) node.Attachment {
	t.Helper()
	return node.Attachment{Pod: newPod(t, n, id), List: u.list(t, u.plugins), IfName: "eth0", Ports: u.ports}
}

// TestIptablesBackend sends packets by way of rules of iptables, and looks for them where iptables has them.
func TestIptablesBackend(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	before := text(t, n)
	u := behind(t, "iptables")
	r := n.Runtime(nil, plugins)
	must(t, r.Status(u.list(t, u.plugins)))
	a := u.attachment(t, n, "cont1")
	result, err := r.Add(a)
	must(t, err)
	must(t, r.Check(a))
	serve(t, &n.Outside, 80)
	server, err := a.Pod.Serve(80)
	must(t, err)
	defer server.Close()
	for _, network := range []string{"tcp", "udp"} {
		seen(t, &n.Outside, network, node.Addr4, 8080, node.Outside4)
		seen(t, &n.Outside, network, node.Addr6, 8080, node.Outside6)
		seen(t, &n.Space, network, "127.0.0.1", 8080, "10.66.0.1")
		seen(t, &a.Pod.Space, network, node.Addr4, 8080, "10.66.0.1")
		seen(t, &a.Pod.Space, network, node.Outside4, 80, node.Addr4)
		seen(t, &a.Pod.Space, network, node.Outside6, 80, node.Addr6)
	}
	// Nothing leads from ::1 to a pod: what listens there is the host's own.
	if got, err := n.Ask("tcp", "::1", 8080); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("[::1]:8080 is not refused: %q, %v", got, err)
	}
	rules, err := n.Run("sh", "-c", "iptables -t nat -S; ip6tables -t nat -S; nft list table inet catena")
	must(t, err)
	for _, want := range []string{
		`-A POSTROUTING -s ` + addrs(t, result, "4")[0] + `/32 -m comment --comment "name: \"upgraded\" id: \"cont1\"" -j CNI-`,
		`-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"upgraded\" id: \"cont1\"" -m multiport --dports 8080 -j CNI-DN-`,
		`-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ`,
	} {
		if !strings.Contains(rules, want) {
			t.Errorf("no %s in\n%s", want, rules)
		}
	}
	if strings.Contains(rules, "upgraded/cont1/eth0") {
		t.Errorf("there are members of nftables too:\n%s", rules)
	}
	// Another pod is told who has the port.
	b := u.attachment(t, n, "cont2")
	if _, err := r.Add(b); err == nil || !strings.Contains(err.Error(), "is held by upgraded/cont1/eth0") {
		t.Errorf("%v", err)
	}
	must(t, r.Del(b))
	must(t, r.Check(a))
	must(t, r.Del(a))
	must(t, r.Del(a))
	server.Close()
	must(t, a.Pod.Remove())
	must(t, b.Pod.Remove())
	noneLeft(t, n, before, "cni0")
}

// TestBackendChanges: what one backend has made is taken away when the configuration names the other by then, also by GC.
func TestBackendChanges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ from, to string }{{"iptables", ""}, {"nftables", "iptables"}} {
		for _, gc := range []bool{false, true} {
			t.Run(c.from+" to "+c.to+map[bool]string{true: " GC"}[gc], func(t *testing.T) {
				t.Parallel()
				n := newNode(t)
				before := text(t, n)
				r := n.Runtime(nil, plugins)
				a := behind(t, c.from).attachment(t, n, "c1")
				_, err := r.Add(a)
				must(t, err)
				list := behind(t, c.to).list(t, behind(t, c.to).plugins)
				if gc {
					must(t, r.Forget(a))
					must(t, r.GC(list))
				} else {
					a.List = list
					must(t, r.Del(a))
				}
				must(t, a.Pod.Remove())
				noneLeft(t, n, before, "cni0")
				if left := theirs.FindAllString(text(t, n), -1); left != nil {
					t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
				}
			})
		}
	}
}

// TestBackAgain: upstream's plugins are put back under pods that ours have attached. Their CHECK of what they know, and
// their DEL, succeed; what they do not know is as internal/README.md has it, and harms no pod that they attach; ours take it away.
func TestBackAgain(t *testing.T) {
	t.Parallel()
	old := upstream(t)
	for _, backend := range []string{"iptables", "nftables"} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			before := text(t, n)
			r, theirs := n.Runtime(nil, plugins), n.Runtime(nil, old)
			u := behind(t, backend)
			a := u.attachment(t, n, "c1")
			_, err := r.Add(a)
			must(t, err)
			if backend == "iptables" {
				must(t, theirs.Check(a))
			}
			must(t, theirs.Del(a))
			_, left := node.Left(before, text(t, n), "cni0")
			var kinds []string
			for _, line := range left {
				f := strings.Fields(line)
				switch f[0] {
				case "netns": // the pod's, which is alive
				case "nft":
					kinds = append(kinds, strings.Join(f[:5], " "))
				default:
					kinds = append(kinds, filepath.Dir(f[1]))
				}
			}
			kinds = slices.Compact(slices.Sorted(slices.Values(kinds)))
			const index = "/var/lib/cni/networks/upgraded/.catena"
			want := []string{"/run/catena/iptables", "/run/catena/nft", index}
			if backend == "nftables" {
				want = []string{
					"/run/catena/nft", index,
					"nft element inet catena hairpin4_24", "nft element inet catena hairpin4_8", "nft element inet catena hairpin6_64",
					"nft element inet catena hostports4", "nft element inet catena hostports6",
					"nft element inet catena masq4", "nft element inet catena masq6",
				}
			}
			if !slices.Equal(kinds, want) {
				t.Errorf("upstream's DEL leaves %q, and internal/README.md says %q:\n%s", kinds, want, strings.Join(left, "\n"))
			}

			// Their next pod has the same address and the same port.
			b := u.attachment(t, n, "c2")
			_, err = theirs.Add(b)
			must(t, err)
			server, err := b.Pod.Serve(80)
			must(t, err)
			seen(t, &n.Outside, "tcp", node.Addr4, 8080, node.Outside4)
			seen(t, &n.Outside, "tcp", node.Addr6, 8080, node.Outside6)
			server.Close()
			must(t, theirs.Del(b))

			must(t, r.GC(a.List))
			must(t, a.Pod.Remove())
			must(t, b.Pod.Remove())
			linksGone(t, n, before)
			noneLeft(t, n, before, "cni0")
		})
	}
}

// olderIptables puts the programs of the older iptables in the place of the newer ones.
func olderIptables(t *testing.T) {
	t.Helper()
	kerneltest.Needs(t, "older iptables")
	dir := t.TempDir()
	for _, tool := range []string{"", "-restore", "-save"} {
		for _, family := range []string{"iptables", "ip6tables"} {
			must(t, os.Symlink("/usr/sbin/"+family+"-legacy"+tool, filepath.Join(dir, family+tool)))
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// TestUpgradeOlderIptables is an upgrade on a host whose iptables has its tables to itself.
func TestUpgradeOlderIptables(t *testing.T) {
	old := upstream(t)
	olderIptables(t)
	for _, later := range []string{"", "iptables"} {
		for _, way := range []string{"DEL", "GC"} {
			t.Run(later+" "+way, func(t *testing.T) {
				n := newNode(t)
				u := behind(t, "iptables")
				a := u.attachment(t, n, "c1")
				_, err := n.Runtime(nil, old).Add(a)
				must(t, err)
				a.List = behind(t, later).list(t, behind(t, later).plugins)
				r := n.Runtime(nil, plugins)
				must(t, r.Check(a))
				if way == "GC" {
					must(t, r.Forget(a))
					must(t, r.GC(a.List))
				} else {
					must(t, r.Del(a))
				}
				rules, err := n.Run("sh", "-c", "iptables-save; ip6tables-save")
				must(t, err)
				if strings.Contains(rules, "CNI-") {
					t.Errorf("left behind:\n%s", rules)
				}
				must(t, a.Pod.Remove())
			})
		}
	}
}
