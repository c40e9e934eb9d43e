package nft

import (
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
