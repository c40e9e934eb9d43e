package nft

import (
	"testing"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// TestStatic has the nft program read the static part as people write it, and
// compares how it lists that with how it lists what we make.
func TestStatic(t *testing.T) {
	for _, tab := range []struct {
		file  string
		table *table
	}{{"testdata/inet.nft", inet}, {"testdata/bridge.nft", bridge}} {
		t.Run(tab.file, func(t *testing.T) {
			t.Parallel()
			s := kerneltest.New(t)
			s.Run("nft -f " + tab.file)
			want := s.Run("nft list ruleset")
			s.Run("nft flush ruleset")
			c, err := wire.Dial()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for range 2 { // what is there already does no harm
				if err := c.Commit(append(tab.table.static(), tab.table.Add(layoutElement, "")), 0); err != nil {
					t.Fatal(err)
				}
			}
			s.Same(tab.file, want, s.Run("nft list ruleset"))
		})
	}
}

// TestParts does the same with what comes behind the static part: the sets of
// networks, and those of a profile.
func TestParts(t *testing.T) {
	s := kerneltest.New(t)
	s.Run("nft -f testdata/inet.nft && nft -f testdata/parts.nft")
	want := s.Run("nft list ruleset")
	s.Run("nft flush ruleset")
	c, err := wire.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, err := NewProfile(20, []string{"ip", "saddr", "10.0.0.0/8"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Commit(append(inet.static(), inet.Add(layoutElement, "")), 0); err != nil {
		t.Fatal(err)
	}
	m := Members{Kind: KindPorts, table: inet, profile: p}
	for _, set := range []string{
		"hairpin4_24", "hairpin4_32", "hairpin4_0", "addrhairpin4_8", "hairpin6_64", "addrhairpin6_128",
		"hairpin4_24" + p.suffix(), "addrhairpin6_0" + p.suffix(), "samesubnet4_16", "samesubnet6_64",
	} {
		if !inet.has(set) {
			t.Errorf("GC looks into no set %s", set)
		}
		m.Elements = append(m.Elements, element(set, nil, ""))
	}
	for range 2 { // what is there already comes in once
		if err := (conn{Conn: c}).makeParts(inet, m.record()); err != nil {
			t.Fatal(err)
		}
	}
	s.Same("testdata/parts.nft", want, s.Run("nft list ruleset"))
	for _, set := range []string{"hairpin4", "hairpin4_33", "hairpin4_-1", "hairpin4_x", "hairpin6_129", "hairpin4_24_another", "masq4_24", "other_24"} {
		if part := inet.networkSet(set, p); part != nil {
			t.Errorf("%s is a set of networks: %v", set, part)
		}
	}
}
