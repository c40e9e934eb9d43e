package iptables

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/firewall/nft"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/state/name"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

func owner(id string) name.Attachment {
	return name.Attachment{Network: "net1", ContainerID: id, IfName: "eth0"}
}

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

func addresses(texts ...string) (out []netip.Addr) {
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

func mapping(port, to uint16, protocol, host, pod string) nft.Mapping {
	return nft.Mapping{Protocol: nft.Protocols[protocol], Host: netip.MustParseAddr(host), HostPort: port, Pod: netip.MustParsePrefix(pod), PodPort: to}
}

func ports(id string) Ports {
	return Ports{Owner: owner(id), From: nft.LocalSources, MarkBit: nft.DefaultMarkBit, Mappings: []nft.Mapping{
		mapping(53, 53, "udp", "0.0.0.0", "10.1.2.3/24"), mapping(8080, 80, "tcp", "0.0.0.0", "10.1.2.3/24"),
		mapping(8081, 80, "tcp", "192.0.2.2", "10.1.2.3/24"), mapping(8080, 80, "tcp", "::", "fd00:1:2::3/64"),
	}}
}

func forward(id string) Forward {
	return Forward{Owner: owner(id), Addrs: addresses("10.1.2.3", "fd00:1:2::3"), Admin: "CNI-ADMIN"}
}

func isolation(id string) Isolation {
	return Isolation{Owner: owner(id), Bridge: "br0", Ports: true, Four: true, Six: true}
}

// builtin makes iptables' own chains, which stay once they were used, and those
// that belong to the administrator.
const builtinChains = `for p in iptables ip6tables; do $p-restore <<'X'
*nat
:PREROUTING ACCEPT
:OUTPUT ACCEPT
:POSTROUTING ACCEPT
COMMIT
*filter
:FORWARD ACCEPT
:CNI-ADMIN -
COMMIT
X
done
`

const saved = "iptables-save; ip6tables-save"

// look shows the rules without what changes by itself.
const look = "{ " + saved + "; iptables-legacy-save; ip6tables-legacy-save; } 2>/dev/null | sed 's/ \\[.*//; /^#/d'"

// useOlder puts the programs of the older iptables in the place of the newer ones.
func useOlder(t *testing.T) {
	t.Helper()
	kerneltest.NeedsTime(t)
	kerneltest.Needs(t, "older iptables")
	dir := t.TempDir()
	for _, name := range []string{"iptables", "ip6tables", "iptables-restore", "ip6tables-restore", "iptables-save", "ip6tables-save"} {
		tool := strings.Replace(name, "tables", "tables-legacy", 1)
		path := filepath.Join("/usr/sbin", tool)
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("the older iptables is needed: %v", err)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func laws(t *testing.T) {
	masquerade := func(id string) fact.Fact {
		return Masquerade{Owner: owner(id), Pods: prefixes("10.1.2.3/24", "10.1.3.3/24", "fd00:1:2::3/64")}
	}
	masqAll := ports("c1")
	masqAll.From, masqAll.MarkBit, masqAll.V4 = nft.AllSources, 20, []string{"-s", "10.0.0.0/8", "!", "-i", "eth9"}
	chain := owner("c1").UpstreamChain
	for what, c := range map[string]kerneltest.Case{
		"masquerade": {
			Plan: fact.Plan{masquerade("c1")}, Other: fact.Plan{masquerade("c0")},
			Undo: []kerneltest.Undo{{Fact: "^ipt", Command: "ip6tables -t nat -F " + chain("CNI-")}},
		},
		"ports": {
			Plan: fact.Plan{ports("c1")}, Other: fact.Plan{ports("c0")},
			Undo: []kerneltest.Undo{{Fact: "^ipt", Command: "iptables -t nat -D " + chain("CNI-DN-") + " -p tcp --dport 8080 -j DNAT --to-destination 10.1.2.3:80"}},
		},
		"ports with a mark of their own": {
			Plan: fact.Plan{masqAll}, Other: fact.Plan{ports("c0")},
			Undo: []kerneltest.Undo{{Fact: "^ipt", Command: "iptables -t nat -F CNI-HOSTPORT-MASQ"}},
		},
		"forward": {
			Plan: fact.Plan{forward("c1")}, Other: fact.Plan{forward("c0")},
			Undo: []kerneltest.Undo{{Fact: "^ipt", Command: "iptables -D CNI-FORWARD -s 10.1.2.3 -j ACCEPT"}},
		},
		"isolation": {
			Plan: fact.Plan{isolation("c1")}, Other: fact.Plan{isolation("c0")},
			Undo: []kerneltest.Undo{{Fact: "^ipt", Command: "ip6tables -D CNI-ISOLATION-STAGE-1 -i br0 -o br0 -m comment --comment 'CNI firewall plugin rules (ingressPolicy: isolated)' -j DROP"}},
		},
	} {
		t.Run(what, func(t *testing.T) {
			c.Setup = func(s *kerneltest.Sandbox) { s.Run(builtinChains) }
			c.Look, c.Again = look, true
			kerneltest.Prove(t, c)
		})
	}
}

func TestLaws(t *testing.T) { laws(t) }

// TestLawsOfTheOlder are the same laws with the tables that are not nftables'.
func TestLawsOfTheOlder(t *testing.T) {
	kerneltest.NeedsTime(t)
	useOlder(t)
	t.Run("older", laws)
}

// TestMissingProgram: the error names the package, and nothing is left.
func TestMissingProgram(t *testing.T) {
	s := kerneltest.New(t)
	t.Setenv("PATH", "/nonexistent")
	for _, f := range []fact.Fact{Masquerade{Owner: owner("c1"), Pods: prefixes("10.1.2.3/24")}, ports("c1"), forward("c1"), isolation("c1")} {
		err := f.Add(s.Kernel())
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no folder of PATH has the program iptables") {
			t.Errorf("%v: %v", f, err)
		}
		if err := f.Del(s.Kernel()); err != nil {
			t.Errorf("%v: DEL: %v", f, err)
		}
	}
	if entries, _ := os.ReadDir(string(folder)); len(entries) > 0 {
		t.Errorf("left %v", entries)
	}
	if err := Ready(); err == nil {
		t.Error("STATUS is green without the programs")
	}
}

// ofBoth tries something with each of the two iptables.
func ofBoth(t *testing.T, try func(*testing.T)) {
	t.Helper()
	kerneltest.NeedsTime(t)
	t.Run("newer", try)
	t.Run("older", func(t *testing.T) { useOlder(t); try(t) })
}

// besideOthers tries something on a host that has nothing, and on one where another
// attachment needs what all share.
func besideOthers(t *testing.T, try func(s *kerneltest.Sandbox, before string)) {
	t.Helper()
	s := kerneltest.New(t)
	s.Run(builtinChains)
	for _, others := range []fact.Plan{nil, {ports("c0"), forward("c0")}} {
		if err := others.Add(s.Kernel()); err != nil {
			t.Fatal(err)
		}
		try(s, s.Run(look)+s.Text())
	}
}

// TestRefused: where iptables refuses the rules, what all attachments share goes
// again, unless another needs it.
func TestRefused(t *testing.T) {
	ofBoth(t, refused)
}

func refused(t *testing.T) {
	bad := ports("c1")
	bad.V4 = []string{"-m", "nosuchmatch"}
	nowhere := Forward{Owner: owner("c1"), Addrs: []netip.Addr{netip.MustParseAddr("fe80::1%nowhere")}, Admin: "CNI-ADMIN"}
	besideOthers(t, func(s *kerneltest.Sandbox, before string) {
		for _, f := range []fact.Fact{bad, nowhere} {
			if err := f.Add(s.Kernel()); err == nil {
				t.Errorf("%v: no error", f)
			}
			s.Same(f.String(), before, s.Run(look)+s.Text())
		}
	})
}

// TestKilledBeforeItHasAny: where an ADD is killed before it has any of its rules,
// what all attachments share goes again, unless another needs it.
func TestKilledBeforeItHasAny(t *testing.T) {
	ofBoth(t, killedBeforeItHasAny)
}

func killedBeforeItHasAny(t *testing.T) {
	killed := ports("c1")
	killed.Mappings = killed.Mappings[2:3]
	besideOthers(t, func(s *kerneltest.Sandbox, before string) { killedAt(t, s, killed, before) })
}

// killedAt kills ADD after each of its steps: the record, the chains, the rules.
func killedAt(t *testing.T, s *kerneltest.Sandbox, p Ports, before string) {
	t.Helper()
	whole := p.rules(false)
	for chains := range len(whole.chains) + 1 {
		for rules := range len(whole.rules) + 1 {
			if rules > 0 && chains < len(whole.chains) {
				continue
			}
			if err := records(KindPorts).Claim(record{Owner: p.Owner, NetnsRef: s.Kernel().NetnsRef(), Chain: p.own().upstreams().name}); err != nil {
				t.Fatal(err)
			}
			for _, c := range whole.chains[:chains] {
				s.Run("iptables -t nat -N " + c + " 2>/dev/null || true")
			}
			if err := (ruleset{table: whole.table, rules: whole.rules[:rules]}).add(); err != nil {
				t.Fatal(err)
			}
			if err := (Ports{Owner: p.Owner}).Del(s.Kernel()); err != nil {
				t.Fatal(err)
			}
			s.Same(fmt.Sprintf("DEL of an ADD killed after %d chains and %d rules", chains, rules), before, s.Run(look)+s.Text())
		}
	}
}

// TestSiblings: two interfaces of a container in one network have one chain, and
// each takes away its own.
func TestSiblings(t *testing.T) {
	kerneltest.NeedsTime(t)
	t.Parallel()
	s := kerneltest.New(t)
	s.Run(builtinChains)
	before := s.Run(look) + s.Text()
	first := Masquerade{Owner: owner("c1"), Pods: prefixes("10.1.2.3/24")}
	second := Masquerade{Owner: owner("c1"), Pods: prefixes("10.1.2.4/24", "fd00:1:2::4/64")}
	second.Owner.IfName = "eth1"
	for _, m := range []Masquerade{first, second} {
		if err := m.Add(s.Kernel()); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []Masquerade{first, second} {
		if err := m.Check(s.Kernel()); err != nil {
			t.Error(err)
		}
	}
	if err := first.Del(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	if err := (Masquerade{Owner: first.Owner}).Del(s.Kernel()); err != nil { // a second DEL
		t.Fatal(err)
	}
	if err := second.Check(s.Kernel()); err != nil {
		t.Errorf("after the DEL of the first: %v", err)
	}
	if err := first.Check(s.Kernel()); err == nil {
		t.Error("the first is still there")
	}
	if err := second.Del(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	s.Same("DEL of both", before, s.Run(look)+s.Text())

	// Of ports each has a chain, and the first one's comes first.
	other := ports("c1")
	other.Owner.IfName = "eth1"
	for _, p := range []Ports{ports("c1"), other} {
		if err := p.Add(s.Kernel()); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []Ports{ports("c1"), other} {
		if err := p.Check(s.Kernel()); err != nil {
			t.Error(err)
		}
	}
	if err := CollectPorts("net1", []name.Attachment{owner("c1"), other.Owner}); err != nil {
		t.Fatal(err)
	}
	if err := ports("c1").Del(s.Kernel()); err != nil {
		t.Error(err)
	}
	if err := other.Check(s.Kernel()); err != nil {
		t.Error(err)
	}
	if err := other.Del(s.Kernel()); err != nil {
		t.Error(err)
	}
	s.Same("DEL of both", before, s.Run(look)+s.Text())
}

// TestPortConflict: who comes second is told who was first, and one whose pod is
// gone gives way.
func TestPortConflict(t *testing.T) {
	t.Parallel()
	s := kerneltest.New(t)
	one := func(id, host string, conditions ...string) Ports {
		return Ports{Owner: owner(id), MarkBit: nft.DefaultMarkBit, V4: conditions, Mappings: []nft.Mapping{mapping(80, 80, "tcp", host, "10.1.2.3/24")}}
	}
	if err := one("c1", "192.0.2.2").Add(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	before := s.Text()
	for _, host := range []string{"192.0.2.2", "0.0.0.0"} {
		if err := one("c2", host).Add(s.Kernel()); !errors.Is(err, fs.ErrExist) || err.Error() != "host port 192.0.2.2:80/tcp is held by net1/c1/eth0" && err.Error() != "host port 80/tcp is held by net1/c1/eth0" {
			t.Errorf("%s: %v", host, err)
		}
		s.Same("a refused ADD", before, s.Text())
	}
	for i, p := range []Ports{one("c3", "192.0.2.3"), one("c4", "0.0.0.0", "-i", "eth9")} {
		if err := p.Add(s.Kernel()); err != nil {
			t.Errorf("%d: %v", i, err)
		}
		if err := p.Del(s.Kernel()); err != nil {
			t.Error(err)
		}
	}
	s.Run(`umount -l "$POD"; rm "$POD"`)
	s.NewPod(s.Pod)
	if err := one("c2", "0.0.0.0").Add(s.Kernel()); err != nil {
		t.Fatalf("the holder is gone, and: %v", err)
	}
	if rules := s.Run("iptables -t nat -S"); strings.Contains(rules, owner("c1").UpstreamChain("CNI-DN-")) || !strings.Contains(rules, owner("c2").UpstreamChain("CNI-DN-")) {
		t.Errorf("the dead holder still has something, or the new one nothing:\n%s", rules)
	}
}

// TestCollect: GC takes away what is the network's and of none that lives.
func TestCollect(t *testing.T) {
	ofBoth(t, collects)
}

func collects(t *testing.T) {
	s := kerneltest.New(t)
	facts := func(at name.Attachment, port uint16) fact.Plan {
		return fact.Plan{
			Masquerade{Owner: at, Pods: prefixes("10.1.2.3/24", "fd00::3/64")},
			Ports{Owner: at, MarkBit: 13, Mappings: []nft.Mapping{mapping(port, 80, "tcp", "0.0.0.0", "10.1.2.3/24")}},
		}
	}
	live, stale, elsewhere := owner("live"), owner("stale"), owner("stale")
	elsewhere.Network = "net10"
	for i, at := range []name.Attachment{live, stale, elsewhere} {
		if err := facts(at, uint16(80+i)).Add(s.Kernel()); err != nil {
			t.Fatal(err)
		}
	}
	s.Run("rm -r /run/catena/iptables")
	for range 2 {
		if err := errors.Join(CollectMasquerade("net1", []name.Attachment{live}), CollectPorts("net1", []name.Attachment{live})); err != nil {
			t.Fatal(err)
		}
	}
	rules := s.Run("iptables -t nat -S; ip6tables -t nat -S")
	for at, want := range map[name.Attachment]bool{live: true, stale: false, elsewhere: true} {
		for _, chain := range []string{at.UpstreamChain("CNI-"), at.UpstreamChain("CNI-DN-")} {
			if strings.Contains(rules, chain) != want {
				t.Errorf("%v has %s: %t\n%s", at, chain, !want, rules)
			}
		}
	}
	if err := errors.Join(CollectPorts("net1", nil), CollectPorts("net10", nil), CollectMasquerade("net1", nil), CollectMasquerade("net10", nil)); err != nil {
		t.Fatal(err)
	}
	if rules := s.Run("iptables -t nat -S; ip6tables -t nat -S"); strings.Contains(rules, "CNI-") {
		t.Errorf("GC of all has left\n%s", rules)
	}
}

// TestFind: folders of PATH that are relative, and files that are no programs, are
// passed over.
func TestFind(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for file, mode := range map[string]os.FileMode{"here/iptables": 0o755, "iptables": 0o755, "plain/iptables": 0o644, "real/iptables": 0o755} {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		"": "", ":here:.": "", dir + "/plain": "",
		":here:" + dir + "/none:" + dir + "/plain:" + dir + "/real": dir + "/real/iptables",
	} {
		t.Setenv("PATH", path)
		if got := find("iptables"); got != want {
			t.Errorf("PATH=%q: %q, not %q", path, got, want)
		}
	}
}

// TestLastLeaves: an ADD does not fail while the last other pod leaves, or GC runs,
// which remove what both would share.
func TestLastLeaves(t *testing.T) {
	kerneltest.NeedsTime(t)
	t.Parallel()
	bin := kerneltest.Build(t, "plugins/meta/portmap")
	s := kerneltest.New(t)
	s.Run(builtinChains)
	before := s.Run(look)
	pods := `pod() {
		port=$((8000 + $1))
		for i in 1 2 3 4; do for verb in ADD CHECK DEL; do
			out=$(printf '{"cniVersion":"1.0.0","name":"net1","type":"portmap","backend":"iptables","runtimeConfig":{"portMappings":[{"hostPort":%d,"containerPort":80,"protocol":"tcp"}]},"prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"%s"}],"ips":[{"address":"10.1.2.%d/24","interface":0}]}}' $port "$POD" $1 |
				CNI_COMMAND=$verb CNI_CONTAINERID=c$1 CNI_IFNAME=eth0 CNI_NETNS=$POD CNI_PATH=/nowhere ` + bin + `/portmap 2>&1) || echo "$verb $1: $out"
		done; done
	}
	gc() {
		for i in 1 2 3 4 5 6; do
			out=$(echo '{"cniVersion":"1.1.0","name":"net9","type":"portmap","backend":"iptables","cni.dev/valid-attachments":[]}' |
				CNI_COMMAND=GC CNI_PATH=/nowhere ` + bin + `/portmap 2>&1) || echo "GC: $out"
		done
	}
	for p in 2 3 4; do pod $p & done; gc & wait`
	if out := s.Run(pods); out != "" {
		t.Errorf("%s", out)
	}
	s.Same("all DELs", before, s.Run(look))
}

// TestConditionsAreRemoved: rules with matches that iptables shows in other words
// than they were given in are found again.
func TestConditionsAreRemoved(t *testing.T) {
	ofBoth(t, conditionsAreRemoved)
}

func conditionsAreRemoved(t *testing.T) {
	s := kerneltest.New(t)
	s.Run(builtinChains)
	before := s.Run(look) + s.Text()
	for _, conditions := range []string{
		"! -s 10.0.0.0/255.0.0.0 -i eth+", "-m statistic --mode nth --every 2", "-m limit --limit 5/sec", "-m mark ! --mark 0x10/0x10",
		"-m conntrack --ctstate NEW", "-m addrtype --src-type UNICAST", "-m iprange --src-range 10.0.0.1-10.0.0.9",
	} {
		if out, err := s.Try("iptables -t nat -N TRY; iptables -t nat -A TRY " + conditions + "; r=$?; iptables -t nat -F TRY; iptables -t nat -X TRY; exit $r"); err != nil {
			t.Logf("%s: this kernel has no such match: %s", conditions, out)
			continue
		}
		p := ports("c1")
		p.V4 = strings.Fields(conditions)
		for _, step := range []func() error{
			func() error { return p.Add(s.Kernel()) }, func() error { return p.Check(s.Kernel()) }, func() error { return Ports{Owner: p.Owner}.Del(s.Kernel()) },
		} {
			if err := step(); err != nil {
				t.Errorf("%s: %v", conditions, err)
			}
		}
		s.Same(conditions, before, s.Run(look)+s.Text())
	}
}
