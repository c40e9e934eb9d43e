package integration

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/catena-cni/catena/integration/node"
	"github.com/catena-cni/catena/internal/kerneltest"
)

// firewall runs the plugin for a pod of a bridged node.
func (b bridged) firewall(verb string, p *node.Pod, more string) (string, error) {
	b.t.Helper()
	var net, host int
	_, err := fmt.Sscanf(p.ID, "pod%d-%d", &net, &host)
	must(b.t, err)
	conf := fmt.Sprintf(`{"cniVersion":"1.1.0","name":"n","type":"firewall"%[1]s,"prevResult":{"cniVersion":"1.1.0",
		"interfaces":[{"name":"br%[2]d"},{"name":"p%[2]d-%[3]d"},{"name":"eth0","sandbox":"%[4]s"}],
		"ips":[{"address":"10.%[2]d.0.%[3]d/24","interface":2},{"address":"fd00:%[2]d::%[3]d/64","interface":2}]}}`, more, net, host, p.Path)
	return byHand(b.Node, verb, "firewall", p.ID, p.Path, "eth0", conf)
}

func (b bridged) admit(p *node.Pod, more string) {
	b.t.Helper()
	_, err := b.firewall("ADD", p, more)
	must(b.t, err)
}

// reached fails the test unless one space reaches addresses of another, by TCP
// and by UDP.
func reached(t testing.TB, from *node.Space, addrs ...string) {
	t.Helper()
	for _, addr := range addrs {
		for _, network := range []string{"tcp", "udp"} {
			if _, err := from.Ask(network, addr, 80); err != nil {
				t.Errorf("%s does not reach %s over %s: %v", from.Name, addr, network, err)
			}
		}
	}
}

// unreached fails the test if a ping comes through. All are sent at once, as
// each waits for what does not come.
func unreached(t testing.TB, from *node.Space, addrs ...string) {
	t.Helper()
	var all sync.WaitGroup
	for _, addr := range addrs {
		all.Go(func() {
			if _, err := from.Run("ping", "-n", "-c", "1", "-W", "1", addr); err == nil {
				t.Errorf("%s reaches %s", from.Name, addr)
			}
		})
	}
	all.Wait()
}

// drops are the ways in which a host comes to drop what it forwards. The words
// tell where our rule is to be found.
var drops = map[string]struct{ setup, show, words string }{
	"iptables-nft, as Docker has it": {`for i in iptables-nft ip6tables-nft; do
		$i -N DOCKER-USER; $i -A DOCKER-USER -j RETURN; $i -N DOCKER; $i -N DOCKER-FORWARD
		$i -A FORWARD -j DOCKER-USER; $i -A FORWARD -j DOCKER-FORWARD
		$i -A DOCKER-FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
		$i -A DOCKER-FORWARD -o docker0 -j DOCKER; $i -A DOCKER-FORWARD -i docker0 -j ACCEPT
		$i -A DOCKER ! -i docker0 -o docker0 -j DROP; $i -P FORWARD DROP; done`,
		"iptables-nft -S FORWARD; ip6tables-nft -S FORWARD", "--mark 0x1000/0x1000 "},
	"nftables, as Docker has it": {`for f in ip ip6; do nft "table $f docker-bridges {
		chain filter-FORWARD { type filter hook forward priority filter; policy drop; oifname docker0 jump in; iifname docker0 accept; };
		chain in { ct state established,related accept; drop; }; }"; done`,
		"nft list tables; nft list chain ip docker-bridges filter-FORWARD", `meta mark & 0x00001000 == 0x00001000 counter packets`},
	"a policy by hand": {`nft 'table inet filter { chain forward { type filter hook forward priority filter; policy drop; ct state vmap { established : accept, invalid : drop }; }; }'`,
		"nft list table inet filter", `accept comment "catena: pods are forwarded`},
	"a last rule that rejects": {`iptables-nft -A FORWARD -j REJECT; ip6tables-nft -A FORWARD -j REJECT`, "iptables-nft -S FORWARD", "--mark 0x1000/0x1000 "},
	"a last rule that leaves all to the policy": {`for i in iptables-nft ip6tables-nft; do $i -P FORWARD DROP; $i -A FORWARD -i lo -j ACCEPT; $i -A FORWARD -j RETURN; done`,
		"iptables-nft -S FORWARD", "--mark 0x1000/0x1000 "},
	"a last rule that logs and drops": {`for i in iptables-nft ip6tables-nft; do
		$i -N LOGDROP; $i -A LOGDROP -m comment --comment odd -j LOG; $i -A LOGDROP -j DROP; $i -A FORWARD -i lo -j ACCEPT; $i -A FORWARD -m comment --comment rest -j LOGDROP; done`,
		"iptables-nft -S FORWARD", "--mark 0x1000/0x1000 "},
	"a jump into chains that reject, early": {`nft 'table inet fw {
		chain public { tcp dport 22 accept; reject with icmpx type admin-prohibited; };
		chain zones { iifname lo accept; goto public; };
		chain forward { type filter hook forward priority 10; policy accept; ct state established accept; jump zones; reject; }; }'`,
		"nft list chain inet fw forward", "catena: pods"},
	"two tables": {`iptables-nft -P FORWARD DROP; ip6tables-nft -P FORWARD DROP; nft 'table inet filter { chain f { type filter hook forward priority -200; policy drop; }; }'`,
		"nft list table inet filter; iptables-nft -S", "catena: pods"},
}

// TestForwardPolicy: pods are reached, and reach others, whatever drops what is
// forwarded, and no longer than they live.
func TestForwardPolicy(t *testing.T) {
	for name, drop := range drops {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBridged(t)
			one, two := b.pod(88, 2), b.pod(89, 2)
			for _, s := range []*node.Space{&one.Space, &two.Space, &b.Outside} {
				serve(t, s, 80)
			}
			reached(t, &b.Outside, "10.88.0.2", "fd00:88::2")
			b.run("%s", drop.setup)
			unreached(t, &b.Outside, "10.88.0.2", "fd00:88::2")
			unreached(t, &one.Space, node.Outside4, node.Outside6)
			b.admit(one, "")
			b.admit(two, "")
			for _, p := range []*node.Pod{one, two} {
				if _, err := b.firewall("CHECK", p, ""); err != nil {
					t.Error(err)
				}
			}
			reached(t, &b.Outside, "10.88.0.2", "fd00:88::2", "10.89.0.2", "fd00:89::2")
			reached(t, &one.Space, node.Outside4, node.Outside6, "10.89.0.2", "fd00:89::2")
			if text := b.run("%s", drop.show); !strings.Contains(text, drop.words) {
				t.Errorf("there is no %q in\n%s", drop.words, text)
			}
			b.run("nft list ruleset > /run/rules; nft -c -f /run/rules 2>/dev/null || grep -q 'xt ' /run/rules; iptables-nft-save | iptables-nft-restore --test; ip6tables-nft-save | ip6tables-nft-restore --test")
			if n := strings.Count(b.run("nft list ruleset"), "catena: pods"); n > 4 || n < 1 {
				t.Errorf("two pods have left %d rules in the tables of others", n)
			}
			_, err := b.firewall("DEL", one, "")
			must(t, err)
			unreached(t, &b.Outside, "10.88.0.2", "fd00:88::2")
			reached(t, &b.Outside, "10.89.0.2", "fd00:89::2")
		})
	}
}

// TestForwardKeepsRules: what the rules of others say of a packet counts, and
// the administrator's chain has the first word.
func TestForwardKeepsRules(t *testing.T) {
	t.Parallel()
	b := newBridged(t)
	pod, other := b.pod(88, 2), b.pod(88, 3)
	serve(t, &pod.Space, 80)
	serve(t, &other.Space, 80)
	b.run(`iptables-nft -P FORWARD DROP; iptables-nft -N CNI-ADMIN; iptables-nft -A FORWARD -p udp -d 10.88.0.3 -j DROP
		iptables-nft -A FORWARD -s 10.99.0.0/16 -j ACCEPT`)
	b.admit(pod, "")
	b.admit(other, "")
	if _, err := b.Outside.Briefly().Ask("udp", "10.88.0.3", 80); err == nil {
		t.Error("a rule that drops is passed over")
	}
	if _, err := b.Outside.Ask("tcp", "10.88.0.3", 80); err != nil {
		t.Error(err)
	}
	reached(t, &b.Outside, "10.88.0.2")
	b.run("iptables-nft -A CNI-ADMIN -s %s -j DROP", node.Outside4)
	unreached(t, &b.Outside, "10.88.0.2")
	b.run("iptables-nft -F CNI-ADMIN; iptables-nft -I CNI-ADMIN -j ACCEPT")
	reached(t, &b.Outside, "10.88.0.2", "10.88.0.3")
	// Somebody puts a rule before ours that drops all: the next ADD is told
	// nothing, and puts ours before it.
	b.run("iptables-nft -F CNI-ADMIN; iptables-nft -I FORWARD 3 -j DROP")
	unreached(t, &b.Outside, "10.88.0.2")
	if out, err := b.firewall("CHECK", pod, ""); err == nil || !strings.Contains(out, "nftables table ip filter, chain FORWARD drops what is forwarded") {
		t.Errorf("CHECK: %s", out)
	}
	b.admit(b.pod(89, 2), "")
	reached(t, &b.Outside, "10.88.0.2")

	// Somebody begins to drop later: GC meets him too.
	b.run(`nft 'table inet late { chain forward { type filter hook forward priority 5; policy drop; }; }'`)
	unreached(t, &b.Outside, "10.88.0.2")
	must1(t)(byHand(b.Node, "GC", "firewall", "", "", "", `{"cniVersion":"1.1.0","name":"other","type":"firewall","cni.dev/valid-attachments":[]}`))
	reached(t, &b.Outside, "10.88.0.2")
}

// TestIngressPolicy sends packets between bridges and inside one.
func TestIngressPolicy(t *testing.T) {
	for _, filtered := range []string{"0", "1"} {
		for _, policy := range []string{"same-bridge", "isolated"} {
			t.Run(policy+" "+filtered, func(t *testing.T) {
				t.Parallel()
				kerneltest.Needs(t, "bridge netfilter")
				b := newBridged(t)
				must(t, b.Sysctl("net/bridge/bridge-nf-call-iptables", filtered))
				must(t, b.Sysctl("net/bridge/bridge-nf-call-ip6tables", filtered))
				b.run("iptables-nft -P FORWARD DROP; ip6tables-nft -P FORWARD DROP")
				one, near, far := b.pod(88, 2), b.pod(88, 3), b.pod(89, 2)
				for _, s := range []*node.Space{&one.Space, &near.Space, &far.Space, &b.Outside} {
					serve(t, s, 80)
				}
				before := text(t, b.Node)
				conf := `,"ingressPolicy":"` + policy + `"`
				for _, p := range []*node.Pod{one, near, far} {
					b.admit(p, conf)
				}
				if policy == "same-bridge" {
					reached(t, &near.Space, "10.88.0.2", "fd00:88::2")
				} else {
					unreached(t, &near.Space, "10.88.0.2", "fd00:88::2")
				}
				for _, p := range []*node.Pod{one, near} {
					unreached(t, &p.Space, "10.89.0.2", "fd00:89::2")
					reached(t, &p.Space, node.Outside4, node.Outside6)
				}
				unreached(t, &far.Space, "10.88.0.2", "fd00:88::2", "10.88.0.3", "fd00:88::3")
				reached(t, &b.Outside, "10.88.0.2", "fd00:88::2", "10.89.0.2", "fd00:89::2")
				reached(t, &b.Space, "10.88.0.2", "fd00:88::2", "10.89.0.2", "fd00:89::2")

				// The bridge stays as it is until its last pod is gone.
				must1(t)(b.firewall("DEL", near, conf))
				unreached(t, &far.Space, "10.88.0.2", "fd00:88::2")
				must1(t)(b.firewall("DEL", one, ""))
				b.admit(one, "")
				reached(t, &far.Space, "10.88.0.2", "fd00:88::2")
				reached(t, &one.Space, "10.89.0.2", "fd00:89::2")
				must1(t)(b.firewall("DEL", far, ""))
				must1(t)(b.firewall("DEL", one, ""))
				noneLeft(t, b.Node, before)
			})
		}
	}
}

// TestFirewallByIptables: with upstream's rules a pod gets out of a host that drops what it forwards, after the
// administrator's word, and bridges with a policy are apart.
func TestFirewallByIptables(t *testing.T) {
	t.Parallel()
	b := newBridged(t)
	one, near, far := b.pod(88, 2), b.pod(88, 3), b.pod(89, 2)
	for _, s := range []*node.Space{&one.Space, &near.Space, &far.Space, &b.Outside} {
		serve(t, s, 80)
	}
	// The administrator's chain is made where it is missing, and stays.
	b.run("for i in iptables ip6tables; do $i -P FORWARD DROP; $i -N OFFICE; done")
	before := text(t, b.Node)
	conf := `,"backend":"iptables","ingressPolicy":"same-bridge","iptablesAdminChainName":"OFFICE"`
	unreached(t, &one.Space, node.Outside4, node.Outside6)
	for _, p := range []*node.Pod{one, near, far} {
		b.admit(p, conf)
		must1(t)(b.firewall("CHECK", p, conf))
	}
	for _, p := range []*node.Pod{one, near, far} {
		reached(t, &p.Space, node.Outside4, node.Outside6)
	}
	reached(t, &near.Space, "10.88.0.2", "fd00:88::2")
	unreached(t, &one.Space, "10.89.0.2", "fd00:89::2")
	unreached(t, &far.Space, "10.88.0.2", "fd00:88::2")
	b.run("iptables -A OFFICE -s 10.88.0.2 -j DROP")
	unreached(t, &one.Space, node.Outside4)
	b.run("iptables -F OFFICE; iptables -D CNI-FORWARD -s 10.88.0.2 -j ACCEPT")
	if out, err := b.firewall("CHECK", one, conf); err == nil || !strings.Contains(out, "10.88.0.2") {
		t.Errorf("CHECK without a rule: %v %s", err, out)
	}
	must1(t)(b.firewall("DEL", one, conf))
	// The others are detached when the configuration has another backend.
	must1(t)(b.firewall("DEL", near, ""))
	must1(t)(byHand(b.Node, "GC", "firewall", "", "", "", `{"cniVersion":"1.1.0","name":"n","type":"firewall","cni.dev/valid-attachments":[]}`))
	unreached(t, &far.Space, node.Outside4, node.Outside6)
	noneLeft(t, b.Node, before)
}

// must1 is must for what gives something besides.
func must1(t testing.TB) func(string, error) {
	return func(_ string, err error) { t.Helper(); must(t, err) }
}
