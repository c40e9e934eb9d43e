package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/catena-cni/catena/integration/node"
)

// everything is a chain that has members of every kind.
const everything = `{"cniVersion":"1.1.0","name":"all","plugins":[
	{"type":"bridge","bridge":"all0","isDefaultGateway":true,"ipMasq":true,"macspoofchk":true,
		"ipam":{"type":"host-local","ranges":[[{"subnet":"10.70.0.0/24"}],[{"subnet":"fd00:70::/64"}]]}},
	{"type":"tuning","runtimeConfig":{},"capabilities":{"mac":true}},
	{"type":"portmap","capabilities":{"portMappings":true},"conditionsV4":["ip","saddr","0.0.0.0/0"]},
	{"type":"firewall","ingressPolicy":"isolated"}]}`

// nextCalls are chains of a plugin or two, each of which must notice alone.
var nextCalls = map[string]string{
	"masquerade": `{"type":"bridge","bridge":"next0","isGateway":true,"ipMasq":true,` + nextIPAM + `}`,
	"guard":      `{"type":"bridge","bridge":"next0","macspoofchk":true,` + nextIPAM + `}`,
	"ptp":        `{"type":"ptp","ipMasq":true,` + nextIPAM + `}`,
	"portmap":    `{"type":"bridge","bridge":"next0","isGateway":true,` + nextIPAM + `},{"type":"portmap","capabilities":{"portMappings":true}}`,
	"firewall":   `{"type":"bridge","bridge":"next0","isGateway":true,` + nextIPAM + `},{"type":"firewall"}`,
	"policy":     `{"type":"bridge","bridge":"next0","isGateway":true,` + nextIPAM + `},{"type":"firewall","backend":"nftables","ingressPolicy":"same-bridge"}`,
}

const nextIPAM = `"ipam":{"type":"host-local","subnet":"10.71.0.0/24"}`

// reload is what a restart of nftables.service does, with rules that drop what
// they do not know, and what Docker does behind it.
const reload = `nft flush ruleset
	nft 'table inet filter { chain forward { type filter hook forward priority filter; policy drop; ct state established accept; }; }'
	iptables-nft -P FORWARD DROP`

// TestPutBack flushes the ruleset under living pods. Whatever call of whatever
// plugin comes next puts back what all of them have, and nothing of a pod that
// has died meanwhile.
func TestPutBack(t *testing.T) {
	for name, chain := range nextCalls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBridged(t)
			b.run("%s", reload)
			r := b.Runtime(nil, plugins)
			all, err := node.Parse([]byte(everything), "")
			must(t, err)
			next, err := node.Parse([]byte(`{"cniVersion":"1.1.0","name":"next","plugins":[`+chain+`]}`), "")
			must(t, err)

			var live []node.Attachment
			for i := range 3 {
				a := node.Attachment{Pod: newPod(t, b.Node, fmt.Sprintf("pod%d", i)), List: all, IfName: "eth0",
					Ports: both(8080+i, 80), Caps: map[string]any{"mac": fmt.Sprintf("02:70:00:00:00:0%d", i)}}
				// What is made of the next network stays.
				n := node.Attachment{Pod: a.Pod, List: next, IfName: "eth1", Ports: both(9000, 80)}
				_, err := r.Add(a)
				must(t, err)
				_, err = r.Add(n)
				must(t, err)
				must(t, r.Del(n))
				live = append(live, a)
			}
			dead := live[2]
			must(t, r.Del(dead))
			before := rules(t, b.Node)
			_, err = r.Add(dead)
			must(t, err)
			must(t, dead.Pod.Remove())

			a := node.Attachment{Pod: newPod(t, b.Node, "next"), List: next, IfName: "eth0", Ports: both(9000, 80)}
			same := func(what string) {
				t.Helper()
				gone, come := node.Diff(before, rules(t, b.Node))
				if len(gone) > 0 {
					t.Errorf("%s has not put back:\n%s", what, strings.Join(gone, "\n"))
				}
				for _, line := range come {
					if strings.Contains(line, "all/") {
						t.Errorf("%s has brought back what is dead: %s", what, line)
					}
				}
			}
			b.run("%s", reload)
			_, err = r.Add(a)
			must(t, err)
			same("ADD")
			b.run("%s", reload)
			must(t, r.Check(a))
			same("CHECK")
			b.run("%s", reload)
			must(t, r.GC(next, a))
			same("GC")
			for _, l := range live[:2] {
				must(t, r.Check(l))
			}
			b.run("%s", reload)
			must(t, r.Del(a))
			same("DEL")
			if _, come := node.Diff(before, rules(t, b.Node)); len(come) > 0 {
				t.Errorf("after DEL there is\n%s", strings.Join(come, "\n"))
			}
			serve(t, &live[0].Pod.Space, 80)
			seen(t, &b.Outside, "tcp", node.Addr4, 8080, node.Outside4)
			for _, l := range live {
				must(t, r.Del(l))
			}
			if text := rules(t, b.Node); strings.Contains(text, "all/") {
				t.Errorf("something is left:\n%s", text)
			}
		})
	}
}

// rules is the node's packet filter.
func rules(t testing.TB, n *node.Node) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(text(t, n)) {
		if strings.HasPrefix(line, "nft ") {
			out.WriteString(line)
		}
	}
	return out.String()
}

// TestPutBackAtOnce: many calls at the same time after one flush, of which each
// would put everything back.
func TestPutBackAtOnce(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	r := n.Runtime(nil, plugins)
	all, err := node.Parse([]byte(everything), "")
	must(t, err)
	var pods []node.Attachment
	for i := range 24 {
		a := node.Attachment{Pod: newPod(t, n, fmt.Sprintf("pod%d", i)), List: all, IfName: "eth0",
			Ports: both(8080+i, 80), Caps: map[string]any{"mac": fmt.Sprintf("02:70:00:00:00:%02x", i)}}
		if i < 16 {
			_, err := r.Add(a)
			must(t, err)
		}
		pods = append(pods, a)
	}
	_, err = n.Run("nft", "flush", "ruleset")
	must(t, err)
	// Eight go, eight stay, eight come.
	done := make(chan error)
	for i, a := range pods {
		switch i / 8 {
		case 0:
			go func() { done <- r.Del(a) }()
		case 2:
			go func() { _, err := r.Add(a); done <- err }()
		}
	}
	for range 16 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	have := rules(t, n)
	for i, a := range pods {
		name := "all/" + a.Pod.ID + "/eth0"
		if i < 8 && strings.Contains(have, `"`+name+`"`) {
			t.Errorf("%s is gone, and has\n%s", name, have)
		}
		if i >= 8 {
			if err := r.Check(a); err != nil {
				t.Error(err)
			}
		}
	}
	for _, a := range pods {
		must(t, r.Del(a))
	}
	if text := rules(t, n); strings.Contains(text, "all/") {
		t.Errorf("something is left:\n%s", text)
	}
}
