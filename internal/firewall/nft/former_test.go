package nft

import (
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/state/name"
)

func podNamed(id string) name.Attachment {
	return name.Attachment{Network: "n", ContainerID: id, IfName: "eth0"}
}

// mapped are the mappings of one host port to both addresses of a pod.
func mapped(protocol uint8, hostPort, podPort uint16, addresses ...string) (out []Mapping) {
	for _, a := range addresses {
		p := netip.MustParsePrefix(a)
		host := netip.IPv4Unspecified()
		if p.Addr().Is6() {
			host = netip.IPv6Unspecified()
		}
		out = append(out, Mapping{Protocol: protocol, Host: host, HostPort: hostPort, Pod: p, PodPort: podPort})
	}
	return out
}

func portsOf(t *testing.T, id string, p *Profile, mappings ...Mapping) Members {
	t.Helper()
	all, err := Merge(mappings)
	if err != nil {
		t.Fatal(err)
	}
	return Ports(podNamed(id), all, LocalSources, p)
}

// TestFormer begins with the table and the records of a former build: pods that
// have been there before keep their ports, and exclude others, until their DEL.
func TestFormer(t *testing.T) {
	s := kerneltest.New(t)
	s.Run("nft -f testdata/former.nft")
	k := s.Kernel()
	for _, id := range []string{"c1", "c2"} {
		b, err := os.ReadFile("testdata/former-" + id + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var r record
		if err := json.Unmarshal(b, &r); err != nil {
			t.Fatal(err)
		}
		r.NetnsRef = k.NetnsRef()
		if b, err = json.Marshal(r); err != nil {
			t.Fatal(err)
		}
		if err := records.Replace(Members{Owner: podNamed(id), Kind: KindPorts}.key(), b); err != nil {
			t.Fatal(err)
		}
	}
	if err := rehearsed.Replace(inet.madeKey(), nil); err != nil {
		t.Fatal(err)
	}
	profile, err := NewProfile(DefaultMarkBit, []string{"ip", "saddr", "10.0.0.0/8"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	dual1, dual2, dual3 := []string{"10.1.2.3/24", "fd00:1:2::3/64"}, []string{"10.1.2.4/24", "fd00:1:2::4/64"}, []string{"10.1.2.5/24", "fd00:1:2::5/64"}
	at := func(host string, mappings []Mapping) []Mapping {
		mappings[0].Host = netip.MustParseAddr(host)
		return mappings[:1]
	}
	one := mapped(unix.IPPROTO_TCP, 8080, 80, dual1...)
	for _, port := range []uint16{53, 54} {
		one = append(one, mapped(unix.IPPROTO_UDP, port, port, dual1...)...)
	}
	one = append(one, at("192.0.2.2", mapped(unix.IPPROTO_SCTP, 9000, 9000, dual1...))...)
	c1, c2 := portsOf(t, "c1", nil, one...), portsOf(t, "c2", profile, mapped(unix.IPPROTO_TCP, 8081, 80, dual2...)...)
	stay := func(what string, all ...Members) {
		t.Helper()
		for _, m := range all {
			if err := m.Check(k); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	list := func() string {
		return s.Run(`for m in dnat4 dnat6 shift4 shift6; do nft list map inet catena $m; done; nft list set inet catena snat4; nft list set inet catena snat6; nft list chain inet catena profiles`)
	}

	before := list()
	stay("CHECK of those that were there", c1, c2)
	s.Same("taking over", before, list())
	if text := s.Run("nft list chain inet catena ports"); !strings.Contains(text, "@port4") {
		t.Errorf("CHECK has not put the static part of this build there:\n%s", text)
	}

	for what, c := range map[string]struct {
		m      Members
		holder string
	}{
		"the same port":        {portsOf(t, "c3", nil, mapped(unix.IPPROTO_TCP, 8080, 80, dual3...)...), "c1"},
		"it at one address":    {portsOf(t, "c3", nil, at("192.0.2.9", mapped(unix.IPPROTO_TCP, 8080, 80, dual3...))...), "c1"},
		"one of a row":         {portsOf(t, "c3", nil, mapped(unix.IPPROTO_UDP, 54, 54, dual3...)...), "c1"},
		"an address":           {portsOf(t, "c3", nil, at("192.0.2.2", mapped(unix.IPPROTO_SCTP, 9000, 1, dual3...))...), "c1"},
		"all with an address":  {portsOf(t, "c3", nil, mapped(unix.IPPROTO_SCTP, 9000, 1, dual3...)...), "c1"},
		"under its conditions": {portsOf(t, "c3", profile, mapped(unix.IPPROTO_TCP, 8081, 80, dual3...)...), "c2"},
	} {
		if err := c.m.Add(k); err == nil || !strings.Contains(err.Error(), "is held by n/"+c.holder+"/eth0") {
			t.Errorf("%s: %v", what, err)
		}
	}
	c3 := portsOf(t, "c3", nil, mapped(unix.IPPROTO_TCP, 8082, 80, dual3...)...)
	c4 := portsOf(t, "c4", profile, mapped(unix.IPPROTO_TCP, 8083, 80, dual3...)...)
	for _, m := range []Members{c3, c4} {
		if err := m.Add(k); err != nil {
			t.Fatal(err)
		}
	}
	stay("beside new pods", c1, c2, c3, c4)

	one[0].PodPort = 81
	if err := portsOf(t, "c1", nil, one...).Check(k); err == nil {
		t.Error("CHECK finds a port that leads elsewhere well")
	}
	s.Run("nft delete element inet catena snat6 { 8080 . tcp . ::/0 . fd00:1:2::/64 }")
	if err := c1.Check(k); err == nil || !strings.Contains(err.Error(), "snat6 { 8080") {
		t.Errorf("CHECK without a member: %v", err)
	}

	s.Run("nft flush ruleset")
	stay("after a reload", c1, c2, c3, c4)
	for _, m := range []Members{c1, c2, c3, c4} {
		if err := m.Del(k); err != nil {
			t.Error(err)
		}
	}
	if text := s.Text(); strings.Contains(text, `comment "n/`) {
		t.Errorf("after DEL:\n%s", text)
	}
}

// TestProfilesBack: a reload takes several profiles, and all come back.
func TestProfilesBack(t *testing.T) {
	s := kerneltest.New(t)
	k := s.Kernel()
	var all []Members
	for i, c := range []struct {
		bit  int
		from string
	}{{DefaultMarkBit, "10.0.0.0/8"}, {20, "192.168.0.0/16"}, {21, ""}} {
		var words []string
		if c.from != "" {
			words = []string{"ip", "saddr", c.from}
		}
		p, err := NewProfile(c.bit, words, nil)
		if err != nil {
			t.Fatal(err)
		}
		m := portsOf(t, "c"+string(rune('1'+i)), p, mapped(unix.IPPROTO_TCP, uint16(8080+i), 80, "10.1.2.3/24", "fd00:1:2::3/64")...)
		if err := m.Add(k); err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	chains := func() string {
		return s.Run("nft list ruleset | grep -A20 'chain ports_' | sort")
	}
	before := chains()
	s.Run("nft flush ruleset")
	for _, m := range all {
		if err := m.Check(k); err != nil {
			t.Error(err)
		}
	}
	s.Same("a reload", before, chains())
}
