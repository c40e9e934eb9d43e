package iptables

import (
	"errors"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestSameAddress: a pod that has the address of one that went without a DEL
// keeps its rules when that DEL comes at last.
func TestSameAddress(t *testing.T) {
	t.Parallel()
	s := kerneltest.New(t)
	s.Run(builtinChains)
	before := s.Run(look) + s.Text()
	for _, id := range []string{"c1", "c2"} {
		if err := forward(id).Add(s.Kernel()); err != nil {
			t.Fatal(err)
		}
	}
	late := Forward{Owner: owner("c1"), Known: forward("c1").Addrs}
	for range 2 {
		if err := late.Del(s.Kernel()); err != nil {
			t.Fatal(err)
		}
		if err := forward("c2").Check(s.Kernel()); err != nil {
			t.Errorf("the live pod: %v", err)
		}
	}
	// An ADD that was killed between the two rules of a pair gives back one.
	if err := records(KindForward).Claim(record{Owner: owner("c1"), NetnsRef: s.Kernel().NetnsRef(), Addrs: late.Known}); err != nil {
		t.Fatal(err)
	}
	s.Run("iptables -A CNI-FORWARD -d 10.1.2.3 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
	if err := late.Del(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	if rules := s.Run("iptables -S CNI-FORWARD"); strings.Count(rules, "10.1.2.3") != 2 {
		t.Errorf("not one pair:\n%s", rules)
	}
	if err := forward("c2").Check(s.Kernel()); err != nil {
		t.Errorf("the live pod, after a killed ADD: %v", err)
	}
	if err := (Forward{Owner: owner("c2")}).Del(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	s.Same("DEL of both", before, s.Run(look)+s.Text())

	// What upstream's plugin made goes by the previous result.
	s.Run(`iptables -N CNI-FORWARD; iptables -I FORWARD 1 -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD
		iptables -I CNI-FORWARD 1 -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN
		iptables -A CNI-FORWARD -d 10.1.2.3/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
		iptables -A CNI-FORWARD -s 10.1.2.3/32 -j ACCEPT`)
	if err := late.Del(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	s.Same("DEL of upstream's", before, s.Run(look)+s.Text())
}

// TestUpstreamsFirewall: upstream's CHECK finds what ours has made, and ours what
// upstream's has; each DEL takes the other's away.
func TestUpstreamsFirewall(t *testing.T) {
	t.Parallel()
	firewall := kerneltest.Upstream(t, "firewall")
	s := kerneltest.New(t)
	s.Run(builtinChains)
	before := s.Run(look)
	theirs := func(verb string) {
		t.Helper()
		s.Run("CNI_COMMAND=" + verb + " CNI_CONTAINERID=c1 CNI_IFNAME=eth0 CNI_NETNS=$POD CNI_PATH=/nowhere " + firewall + ` <<'X'
{"cniVersion":"1.0.0","name":"net1","type":"firewall","backend":"iptables","ingressPolicy":"isolated","prevResult":{"cniVersion":"1.0.0",
"interfaces":[{"name":"br0"}],"ips":[{"address":"10.1.2.3/24"},{"address":"fd00:1:2::3/64"}]}}
X`)
	}
	ours := fact.Plan{forward("c1"), isolation("c1")}
	if err := ours.Add(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	theirs("CHECK")
	theirs("DEL")
	if err := forward("c1").Check(s.Kernel()); err == nil {
		t.Error("upstream's DEL has not found the rules")
	}
	if err := ours.Del(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	s.Same("both DELs", before, s.Run(look))

	theirs("ADD")
	if err := ours.Check(s.Kernel()); err != nil {
		t.Error(err)
	}
	detached := Forward{Owner: owner("c1"), Known: forward("c1").Addrs}
	if err := errors.Join(detached.Del(s.Kernel()), isolation("c1").Del(s.Kernel())); err != nil {
		t.Fatal(err)
	}
	if rules := s.Run("iptables-save; ip6tables-save"); strings.Contains(rules, "CNI-FORWARD") || !strings.Contains(rules, "CNI-ISOLATION") {
		t.Errorf("after the DEL of upstream's:\n%s", rules)
	}
}

// TestStagesComeFirst: what keeps bridges apart is asked before what accepts,
// whichever of them came last.
func TestStagesComeFirst(t *testing.T) {
	t.Parallel()
	s := kerneltest.New(t)
	for _, p := range []fact.Plan{{forward("c1"), isolation("c1")}, {isolation("c2"), forward("c2")}} {
		if err := p.Add(s.Kernel()); err != nil {
			t.Fatal(err)
		}
		if err := p.Check(s.Kernel()); err != nil {
			t.Error(err)
		}
		for _, program := range []string{"iptables", "ip6tables"} {
			if rules := s.Run(program + " -S FORWARD"); strings.Index(rules, "STAGE-1") > strings.Index(rules, "CNI-FORWARD") {
				t.Errorf("%s:\n%s", program, rules)
			}
		}
		if err := forward("c1").Del(s.Kernel()); err != nil { // and with it the jump
			t.Fatal(err)
		}
	}
	s.Run(`iptables -D FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD; iptables -I FORWARD 1 -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD`)
	if err := isolation("c2").Check(s.Kernel()); err == nil || !strings.Contains(err.Error(), "accepts before") {
		t.Errorf("CHECK does not see it: %v", err)
	}
}

// TestIsolationHalfGone: a chain that cannot be removed is found again by the next
// DEL.
func TestIsolationHalfGone(t *testing.T) {
	t.Parallel()
	s := kerneltest.New(t)
	s.Run(builtinChains)
	before := s.Run(look)
	if err := isolation("c1").Add(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	s.Run("iptables -A OUTPUT -j CNI-ISOLATION-STAGE-2")
	if err := isolation("c1").Del(s.Kernel()); err == nil {
		t.Error("DEL does not tell of a chain that is in use")
	}
	s.Run("iptables -D OUTPUT -j CNI-ISOLATION-STAGE-2")
	if err := isolation("c1").Del(s.Kernel()); err != nil {
		t.Error(err)
	}
	s.Same("the second DEL", before, s.Run(look))
}

// TestIsolationGoesWithTheLast of the pods of each bridge.
func TestIsolationGoesWithTheLast(t *testing.T) {
	t.Parallel()
	s := kerneltest.New(t)
	s.Run(builtinChains)
	before := s.Run(look)
	all := []Isolation{isolation("c1"), isolation("c2"), isolation("c3")}
	all[2].Bridge, all[2].Ports = "br1", false
	for _, a := range all {
		if err := a.Add(s.Kernel()); err != nil {
			t.Fatal(err)
		}
	}
	for i, a := range all {
		if err := (Isolation{Owner: a.Owner}).Del(s.Kernel()); err != nil {
			t.Fatal(err)
		}
		for _, o := range all[i+1:] {
			if err := o.Check(s.Kernel()); err != nil {
				t.Errorf("after the DEL of %v: %v", a.Owner, err)
			}
		}
	}
	s.Same("DEL of all", before, s.Run(look))

	// Those of upstream's plugin may be needed by its pods.
	if err := all[2].rules(false).add(); err != nil {
		t.Fatal(err)
	}
	theirs := s.Run(look)
	if err := all[2].Add(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	if err := (Isolation{Owner: all[2].Owner}).Del(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	if rules := s.Run("iptables -S CNI-ISOLATION-STAGE-1"); !strings.Contains(rules, "-i br1") {
		t.Errorf("upstream's rules are gone, which were:\n%s", theirs)
	}
}
