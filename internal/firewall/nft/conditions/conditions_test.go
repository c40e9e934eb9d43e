package conditions

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// TestConditions compares how the nft program lists our rules with how it lists
// its own. A condition that is written in several ways has its nft form last.
func TestConditions(t *testing.T) {
	t.Parallel()
	cases := []struct {
		six   bool
		words []string
		rule  string
	}{
		{false, []string{"ip saddr 10.0.0.0/8", "-s 10.0.0.0/8", "--source 10.0.0.0/8"}, "ip saddr 10.0.0.0/8"},
		{false, []string{"ip saddr != 10.0.0.0/8", "! -s 10.0.0.0/8"}, "ip saddr != 10.0.0.0/8"},
		{false, []string{"ip daddr 192.0.2.1", "-d 192.0.2.1", "-d 192.0.2.1/32"}, "ip daddr 192.0.2.1"},
		{false, []string{"ip saddr 10.0.0.0/13"}, "ip saddr 10.0.0.0/13"},
		{false, []string{"ip saddr 192.0.2.3-192.0.2.9", "-m iprange --src-range 192.0.2.3-192.0.2.9"}, "ip saddr 192.0.2.3-192.0.2.9"},
		{false, []string{"ip saddr != 192.0.2.3-192.0.2.9"}, "ip saddr != 192.0.2.3-192.0.2.9"},
		{false, []string{"ip saddr {10.0.0.0/8, 192.0.2.1}", "-s 192.0.2.1,10.0.0.0/8"}, "ip saddr { 10.0.0.0/8, 192.0.2.1 }"},
		{false, []string{"ip saddr != { 10.0.0.0/8,192.0.2.0/24 }"}, "ip saddr != { 10.0.0.0/8, 192.0.2.0/24 }"},
		{false, []string{"ip saddr {192.0.2.1,192.0.2.2}"}, "ip saddr { 192.0.2.1, 192.0.2.2 }"},
		{false, []string{"ip saddr {255.255.255.0/24,192.0.2.2}"}, "ip saddr { 255.255.255.0/24, 192.0.2.2 }"},
		{true, []string{"ip6 saddr 2001:db8::/32", "-s 2001:db8::/32"}, "ip6 saddr 2001:db8::/32"},
		{true, []string{"ip6 daddr != 2001:db8::1", "! -d 2001:db8::1"}, "ip6 daddr != 2001:db8::1"},
		{true, []string{"ip6 saddr {2001:db8::/32,fd00::1}"}, "ip6 saddr { 2001:db8::/32, fd00::1 }"},
		{false, []string{"tcp dport 80"}, "tcp dport 80"},
		{false, []string{"tcp dport 8000-9000", "tcp dport { 8000-9000 }"}, "tcp dport 8000-9000"},
		{false, []string{"udp sport != 1024-65535"}, "udp sport != 1024-65535"},
		{false, []string{"tcp dport {80,443,8000-9000}"}, "tcp dport { 80, 443, 8000-9000 }"},
		{false, []string{"meta l4proto tcp th dport 80", "-p tcp --dport 80", "-p tcp -m tcp --dport 80"}, "meta l4proto tcp th dport 80"},
		{false, []string{"-p udp -m multiport --sports 53,1024:2000"}, "meta l4proto udp th sport { 53, 1024-2000 }"},
		{false, []string{"meta l4proto { tcp, udp }"}, "meta l4proto { tcp, udp }"},
		{false, []string{"iifname eth0", `iifname "eth0"`, "meta iifname == eth0", "-i eth0"}, `iifname "eth0"`},
		{false, []string{"iifname != eth0", "! -i eth0", "! --in-interface eth0"}, `iifname != "eth0"`},
		{false, []string{"iifname eth*", "-i eth+"}, `iifname "eth*"`},
		{false, []string{"oifname lo", "-o lo"}, `oifname "lo"`},
		{false, []string{"iifname { eth0, eth1 }"}, `iifname { "eth0", "eth1" }`},
		{false, []string{"meta mark 0x10", "mark 16", "-m mark --mark 0x10"}, "meta mark 0x10"},
		{false, []string{"meta mark & 0xff != 0x10", "-m mark ! --mark 0x10/0xff"}, "meta mark and 0xff != 0x10"},
		{false, []string{"ct state new", "-m state --state NEW"}, "ct state == new"},
		{false, []string{"ct state != invalid", "! --ctstate INVALID"}, "ct state != invalid"},
		{false, []string{"ct state new,established", "-m conntrack --ctstate NEW,ESTABLISHED"}, "ct state { established, new }"},
		{false, []string{"ip saddr { 10.0.0.0/8, 10.1.0.0/16, 10.255.255.0-11.0.0.255, 12.0.0.0/8 }"}, "ip saddr { 10.0.0.0-11.0.0.255, 12.0.0.0/8 }"},
		{false, []string{"-s 10.0.0.0/8,255.255.255.255"}, "ip saddr { 10.0.0.0/8, 255.255.255.255 }"},
		{false, []string{"ether saddr 02:00:00:00:00:01", "-m mac --mac-source 02:00:00:00:00:01"}, "ether saddr 02:00:00:00:00:01"},
		{false, []string{"iifname eth0 ip saddr 10.0.0.0/8 tcp dport {80,443} ip daddr {192.0.2.1,192.0.2.2}"},
			`iifname "eth0" ip saddr 10.0.0.0/8 tcp dport { 80, 443 } ip daddr { 192.0.2.1, 192.0.2.2 }`},
	}
	s := kerneltest.New(t)
	c, err := wire.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, test := range cases {
		family, digit := wire.Family(unix.NFPROTO_IPV4), "4"
		if test.six {
			family, digit = wire.Family(unix.NFPROTO_IPV6), "6"
		}
		list := func() string {
			out := s.Run("nft list ruleset")
			s.Run("nft flush ruleset")
			// How an implied family is shown depends on what follows it.
			return strings.ReplaceAll(out, "meta nfproto ipv"+digit+" ", "")
		}
		s.Run("nft 'table inet t { chain c { type nat hook prerouting priority 0; meta nfproto ipv" + digit + " " + test.rule + " accept; }; }'")
		want := list()
		for _, words := range test.words {
			rule, err := Parse(strings.Fields(words), test.six, 100)
			if err != nil {
				t.Errorf("%s: %v", words, err)
				continue
			}
			if err := accept(c, family, rule); err != nil {
				t.Errorf("%s: %v", words, err)
				continue
			}
			s.Same(words, want, list())
		}
	}
}

// accept makes a table with one chain, that accepts what the rule matches.
func accept(c *wire.Conn, family []wire.Expr, rule wire.Rule) error {
	rule.Exprs = slices.Concat(family, rule.Exprs, wire.One(wire.Accept()))
	table := wire.Table{Family: unix.NFPROTO_INET, Name: "t"}
	return c.Commit(append([]wire.Message{table.NewTable(""), table.NewChain("c", &wire.Hook{Type: "nat"})}, table.NewRules("c", rule)...), 0)
}

// TestTouching: ranges that touch are as good as one, which the nft program makes
// of its own.
func TestTouching(t *testing.T) {
	t.Parallel()
	s := kerneltest.New(t)
	c, err := wire.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	rule, err := Parse([]string{"ip saddr { 10.0.0.128/25, 10.0.0.0/25, 10.0.1.0/24 }"}, false, 100)
	if err != nil {
		t.Fatal(err)
	}
	if err := accept(c, wire.Family(unix.NFPROTO_IPV4), rule); err != nil {
		t.Fatal(err)
	}
	s.Has("nft list ruleset", "ip saddr { 10.0.0.0/25, 10.0.0.128/25, 10.0.1.0/24 } accept")
}

// TestConditionErrors names the word and what would be understood.
func TestConditionErrors(t *testing.T) {
	for words, part := range map[string]string{
		"ip6 saddr ::1":                     `ip6 does not match what these conditions are for: ip does`,
		"ip saddr":                          "it ends where an IPv4 address",
		"ip saddr 10.0.0.1,":                "it ends where an IPv4 address",
		"iifname { eth*, lo }":              "a name with a wildcard cannot be one of several",
		"iifname }":                         `"}" is not understood: a value`,
		"-i eth*":                           `"eth*" is not understood: an interface's name`,
		"--mark 1/x":                        `"x" is not understood: a mark`,
		"-m conntrack --ctstate DNAT":       `"DNAT" is not understood: new`,
		"ip saddr 10.0.0.0/33":              `"10.0.0.0/33" is not understood`,
		"ip saddr 2001:db8::1":              "an IPv4 address",
		"ip ttl 3":                          `"ttl" is not understood: saddr, daddr`,
		"socket cgroupv2":                   `"socket" is not understood: ip, meta`,
		"tcp dport http":                    `"http" is not understood: a port's number`,
		"tcp dport 70000":                   `"70000" is not understood`,
		"tcp dport {80":                     "',' or '}'",
		"tcp dport {}":                      `"}" is not understood: a value`,
		"ct state old":                      `"old" is not understood: new, established`,
		"iifname averylonginterface":        "an interface's name",
		"-j ACCEPT":                         `"-j" is not understood: -s, -d`,
		"-s":                                "an IPv4 address",
		"--dport 80 -p tcp":                 "a port needs -p",
		"-m string --string x":              `"string" is not understood: -m with tcp`,
		"ip saddr 10.0.0.1 } ; add table x": `"}" is not understood`,
	} {
		_, err := Parse([]string{words}, false, 0)
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v, and %q is wanted", words, err, part)
		}
	}
}

// FuzzParse: conditions of any words make a rule or an error that names a word; each value
// that is compared is as long as what it is compared with, and ranges run upward.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"ip saddr != { 10.0.0.0/8,192.0.2.0/24 }", "ip6 saddr 2001:db8::1-2001:db8::9", "tcp dport {80,443,8000-9000}", "iifname { eth0, eth* }", "iifname eth*",
		"meta mark & 0xff != 0x10", "ct state new,established", "ether saddr 02:00:00:00:00:01", "meta l4proto { tcp, udp }", "ip saddr { , }", "ip saddr {",
		"-s 10.0.0.0/8,255.255.255.255", "! -i eth+", "-p udp -m multiport --sports 53,1024:2000", "-m mark ! --mark 0x10/0xff", "-m iprange --src-range 192.0.2.9-192.0.2.3",
		"-m comment --comment x", "-m", "! !", "-p tcp --dport",
	} {
		f.Add(text, false)
		f.Add(text, true)
	}
	f.Fuzz(func(t *testing.T, text string, six bool) {
		words := strings.Fields(text)
		IptablesOnly(words, six)
		rule, err := Parse(words, six, 1)
		if kerneltest.Refused(t, err) {
			return
		}
		for _, set := range rule.Anonymous {
			for i, span := range set.Spans {
				if len(span.First) != int(set.Of.Size) || len(span.Last) != int(set.Of.Size) || bytes.Compare(span.First, span.Last) > 0 ||
					i > 0 && bytes.Compare(set.Spans[i-1].Last, span.First) >= 0 {
					t.Errorf("%q: %+v", text, set)
				}
			}
		}
		again, err := Parse(strings.Fields(strings.Join(words, "  ")), six, 1)
		if err != nil || !reflect.DeepEqual(again, rule) {
			t.Errorf("%q: %v", text, err)
		}
	})
}
