// Package lists does with lists what the standard library's slices does, in
// little code: that is compiled anew for every type, a sort in ten kilobytes, for
// a speed that no list here needs.
package lists

import (
	"cmp"
	"sort"
)

// Sort sorts by a comparison as slices.SortFunc has it. Equals may change places.
func Sort[E any](all []E, compare func(a, b E) int) { sort.Sort(list[E]{all, compare}) }

// Stable is Sort that leaves equals in their order.
func Stable[E any](all []E, compare func(a, b E) int) { sort.Stable(list[E]{all, compare}) }

// Ascending sorts what has an order of its own, and returns it.
func Ascending[E cmp.Ordered](all []E) []E {
	Sort(all, cmp.Compare[E])
	return all
}

// Without is a copy of a list less what is to be left out.
func Without[S ~[]E, E any](all S, out func(E) bool) (rest S) {
	for _, e := range all {
		if !out(e) {
			rest = append(rest, e)
		}
	}
	return rest
}

// Keys are the keys of a map in their order.
func Keys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	return Ascending(keys)
}

type list[E any] struct {
	all     []E
	compare func(a, b E) int
}

func (l list[E]) Len() int           { return len(l.all) }
func (l list[E]) Less(i, j int) bool { return l.compare(l.all[i], l.all[j]) < 0 }
func (l list[E]) Swap(i, j int)      { l.all[i], l.all[j] = l.all[j], l.all[i] }
