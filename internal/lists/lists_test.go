package lists_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/catena-cni/catena/internal/lists"
)

type pair struct{ key, place int }

func byKey(a, b pair) int { return a.key - b.key }

// TestAsSlices: the results are those of the standard library's slices.
func TestAsSlices(t *testing.T) {
	for _, n := range []int{0, 1, 2, 13, 1000} {
		all := make([]pair, n)
		for i := range all {
			all[i] = pair{rand.IntN(n/2 + 1), i}
		}
		want := slices.Clone(all)
		slices.SortStableFunc(want, byKey)

		stable := slices.Clone(all)
		lists.Stable(stable, byKey)
		if !slices.Equal(stable, want) {
			t.Errorf("%d pairs: %v, want %v", n, stable, want)
		}
		lists.Sort(all, byKey)
		if !slices.EqualFunc(all, want, func(a, b pair) bool { return a.key == b.key }) {
			t.Errorf("%d pairs: %v, want the keys of %v", n, all, want)
		}
	}
	if got := lists.Ascending([]string{"b", "", "c", "a"}); !slices.Equal(got, []string{"", "a", "b", "c"}) {
		t.Errorf("%q", got)
	}
	if got := lists.Keys(map[string]bool{"b": true, "a": false}); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%q", got)
	}
	all := []int{1, 2, 3, 4}
	if got := lists.Without(all, func(n int) bool { return n%2 == 0 }); !slices.Equal(got, []int{1, 3}) || !slices.Equal(all, []int{1, 2, 3, 4}) {
		t.Errorf("%v of %v", got, all)
	}
}
