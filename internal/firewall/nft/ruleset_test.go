package nft

import (
	"slices"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

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
			c, err := dial()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for range 2 { // what is there already does no harm
				if err := c.commit(append(tab.table.static(), tab.table.touch()), 0); err != nil {
					t.Fatal(err)
				}
			}
			s.Same(tab.file, want, s.Run("nft list ruleset"))
		})
	}
}

// TestParts does the same with what comes behind the static part: the sets of
// sources, and those of a profile.
func TestParts(t *testing.T) {
	s := kerneltest.New(t)
	s.Run("nft -f testdata/inet.nft && nft -f testdata/parts.nft")
	want := s.Run("nft list ruleset")
	s.Run("nft flush ruleset")
	c, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, err := NewProfile(20, []string{"ip", "saddr", "10.0.0.0/8"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	batch := slices.Concat(inet.static(), []message{inet.touch()}, p.parts)
	for i, set := range []string{
		"near4_24", "near4_32", "near4_0", "nearat4_8", "near6_64", "nearat6_128",
		"port4" + p.Suffix, "port6" + p.Suffix, "near4_24" + p.Suffix, "nearat6_0" + p.Suffix,
	} {
		part := inet.partOf(set, p, partIDs+uint32(i))
		if part == nil {
			t.Fatalf("%s is no part", set)
		}
		batch = append(batch, part...)
	}
	if err := c.commit(batch, 0); err != nil {
		t.Fatal(err)
	}
	have := s.Run("nft list ruleset")
	s.Same("testdata/parts.nft", want, have)
	for _, set := range []string{"near4", "near4_33", "near4_-1", "near4_x", "near6_129", "near4_24_another", "masq4_24", "other_24"} {
		if part := inet.partOf(set, p, partIDs); part != nil {
			t.Errorf("%s is a part: %v", set, part)
		}
	}
}
