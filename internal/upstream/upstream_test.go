package upstream

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/state/name"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// What these tables look like upstream's own plugins show, in integration.

func owner(network, id string) name.Attachment {
	return name.Attachment{Network: network, ContainerID: id, IfName: "eth0"}
}

const hostportTable = `table ip cni_hostport {
	chain prerouting { type nat hook prerouting priority dstnat; fib daddr type local jump hostports_all; }
	chain output { type nat hook output priority -100; fib daddr type local jump hostports_all; }
	chain masquerading { type nat hook postrouting priority srcnat; }
	chain hostports_all { jump hostip_hostports; jump hostports; }
	chain hostports { }
	chain hostip_hostports { }
}`

// led makes upstream's rules of a container with an address.
func led(s *kerneltest.Sandbox, id, address string) {
	s.Run(fmt.Sprintf(`nft add rule ip cni_hostport hostports tcp dport 80 dnat to %[2]s:80 comment '"%[1]s"'
		nft add rule ip cni_hostport masquerading ip saddr %[2]s ip daddr %[2]s masquerade comment '"%[1]s"'`, id, address))
}

func tables(t *testing.T) *kerneltest.Sandbox {
	t.Helper()
	s := kerneltest.New(t)
	s.Run("nft -f - <<'X'\n" + hostportTable + "\nX")
	return s
}

// TestPortsOfOneNetwork: with its addresses a container's other network keeps
// its ports, and the table goes with the last.
func TestPortsOfOneNetwork(t *testing.T) {
	t.Parallel()
	s := tables(t)
	led(s, "c1", "10.1.2.3")
	led(s, "c1", "10.9.9.9")
	led(s, "c2", "10.1.2.4")
	one := Ports{Owner: owner("n", "c1"), Addrs: []netip.Addr{netip.MustParseAddr("10.1.2.3")}}
	if holds, err := one.Holds(); !holds || err != nil {
		t.Errorf("%t %v", holds, err)
	}
	for range 2 {
		if err := one.Remove(); err != nil {
			t.Fatal(err)
		}
	}
	if holds, err := one.Holds(); holds || err != nil {
		t.Errorf("%t %v", holds, err)
	}
	rules := s.Run("nft list table ip cni_hostport")
	if strings.Contains(rules, "10.1.2.3") || strings.Count(rules, "10.9.9.9") != 3 || strings.Count(rules, "10.1.2.4") != 3 {
		t.Errorf("left:\n%s", rules)
	}
	if err := errors.Join(Ports{Owner: owner("n", "c1")}.Remove(), Ports{Owner: owner("n", "c2")}.Remove()); err != nil {
		t.Fatal(err)
	}
	if rules := s.Run("nft list ruleset"); strings.Contains(rules, "cni_hostport") {
		t.Errorf("the table outlives its last pod:\n%s", rules)
	}
}

// TestCollectPorts: what GC can prove of no network goes, and no more.
func TestCollectPorts(t *testing.T) {
	t.Parallel()
	s := tables(t)
	for i, id := range []string{"valid", "stale", "leased", "cached"} {
		led(s, id, fmt.Sprintf("10.1.2.%d", i+3))
	}
	s.Run(`mkdir -p /var/lib/cni/results /var/lib/cni/networks/other /var/lib/cni/networks/n
		printf 'leased\r\neth1' >/var/lib/cni/networks/other/10.7.7.7
		printf 'stale\r\neth0' >/var/lib/cni/networks/n/10.1.2.4
		touch /var/lib/cni/results/other-cached-eth1 /var/lib/cni/results/n-stale-eth0`)
	if err := CollectPorts("n", []name.Attachment{owner("n", "valid")}); err != nil {
		t.Fatal(err)
	}
	rules := s.Run("nft list table ip cni_hostport")
	for id, want := range map[string]int{"valid": 2, "stale": 0, "leased": 2, "cached": 2} {
		if n := strings.Count(rules, `"`+id+`"`); n != want {
			t.Errorf("%s has %d rules, and should have %d:\n%s", id, n, want, rules)
		}
	}
}

// TestForeignTable: a table of that name with somebody else's chains stays.
func TestForeignTable(t *testing.T) {
	t.Parallel()
	s := tables(t)
	led(s, "c1", "10.1.2.3")
	s.Run("nft add chain ip cni_hostport mine")
	if err := (Ports{Owner: owner("n", "c1")}).Remove(); err != nil {
		t.Fatal(err)
	}
	if rules := s.Run("nft list ruleset"); !strings.Contains(rules, "chain mine") || strings.Contains(rules, "10.1.2.3") {
		t.Errorf("left:\n%s", rules)
	}
}

// TestCollectGuards: the guard of a link that is there stays.
func TestCollectGuards(t *testing.T) {
	t.Parallel()
	s := kerneltest.New(t)
	s.Run("ip link add vethaaaaaaaa type veth peer name x")
	guards := "table bridge nat {\n"
	for id, link := range map[string]string{"here": "vethaaaaaaaa", "gone": "vethbbbbbbbb"} {
		chain := "cni-br-iface-" + id + "-eth0"
		guards += fmt.Sprintf("chain %[1]s-mac { ether saddr 02:00:00:00:00:01 return; drop; }; chain %[1]s { jump %[1]s-mac; };\n", chain)
		guards += fmt.Sprintf("chain PREROUTING { type filter hook prerouting priority -300; iifname %q jump %s comment \"macspoofchk-%s-eth0\"; };\n", link, chain, id)
	}
	s.Run("nft -f - <<'X'\n" + guards + "}\nX")
	if err := CollectGuards(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	if rules := s.Run("nft list ruleset"); strings.Contains(rules, "gone") || strings.Count(rules, "here-eth0") < 4 {
		t.Errorf("left:\n%s", rules)
	}
	if holds, err := (Guard{owner("n", "here")}).Holds(); !holds || err != nil {
		t.Errorf("%t %v", holds, err)
	}
	if err := (Guard{owner("n", "here")}).Remove(); err != nil {
		t.Fatal(err)
	}
	if rules := s.Run("nft list ruleset"); strings.Contains(rules, "bridge nat") {
		t.Errorf("left:\n%s", rules)
	}
}

// TestCollectMasquerade: GC goes by the hashes of network, interface and container.
func TestCollectMasquerade(t *testing.T) {
	t.Parallel()
	s := kerneltest.New(t)
	s.Run("nft add table inet cni_plugins_masquerade; nft add chain inet cni_plugins_masquerade masq_checks")
	for i, at := range []name.Attachment{owner("n", "valid"), owner("n", "stale"), owner("m", "stale")} {
		s.Run(fmt.Sprintf(`nft add rule inet cni_plugins_masquerade masq_checks ip saddr 10.1.2.%d masquerade comment '"%s, net: %s, if: eth0, id: %s"'`,
			i, at.UpstreamInstance(), at.Network, at.ContainerID))
	}
	if err := CollectMasquerade("n", []name.Attachment{owner("n", "valid")}); err != nil {
		t.Fatal(err)
	}
	rules := s.Run("nft list ruleset")
	if strings.Contains(rules, "net: n, if: eth0, id: stale") || !strings.Contains(rules, "id: valid") || !strings.Contains(rules, "net: m,") {
		t.Errorf("left:\n%s", rules)
	}
}

// TestLink: a link that has the name by chance, but another address, stays.
func TestLink(t *testing.T) {
	t.Parallel()
	s := kerneltest.New(t)
	s.Run("ip link add veth0123abcd address 02:00:00:00:00:01 type veth peer name x")
	for mac, stays := range map[string]bool{"02:00:00:00:00:02": true, "": true} {
		if err := (Link{"veth0123abcd", mac}).Del(s.Kernel()); err != nil {
			t.Error(err)
		}
		if _, err := s.Try("ip link show veth0123abcd"); (err == nil) != stays {
			t.Errorf("by the address %q it is removed", mac)
		}
	}
	for range 2 {
		if err := (Link{"veth0123abcd", "02:00:00:00:00:01"}).Del(s.Kernel()); err != nil {
			t.Error(err)
		}
	}
	if out, err := s.Try("ip link show veth0123abcd"); err == nil {
		t.Error(out)
	}
	for link, theirs := range map[string]bool{"veth0123abcd": true, "veth0123abc": false, "veth0123abcdef0": false, "veth0123ABCD": false, "vethwe-bridg": false} {
		if HostName(link) != theirs {
			t.Errorf("%s: %t", link, !theirs)
		}
	}
}
