package conf

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Lint looks through a configuration for what decoding passes over in silence:
// keys that none of the shapes knows, each as an ErrKey that names the nearest
// known one, and keys that stand twice in one object. A map among the shapes
// says that the object has other keys, which somebody else reads.
func (d *Document) Lint(shapes ...any) (unknown []error, twice error) {
	var l linter
	l.value("", d.root, typesOf(shapes))
	return l.unknown, l.twice
}

type linter struct {
	unknown []error
	twice   error
}

// value walks one JSON value; types are the Go types that read it, none where
// nothing is known.
func (l *linter) value(path string, n node, types []reflect.Type) {
	for _, e := range n.elements {
		l.value(extend(path, "[]"), e, element(types))
	}
	l.object(path, n, types)
}

func (l *linter) object(path string, n node, types []reflect.Type) {
	known, closed := known(types)
	seen := map[string]bool{}
	for _, m := range n.members {
		key, value := m.key, m.value
		full := extend(path, key)
		if seen[key] && l.twice == nil {
			l.twice = fmt.Errorf("%w: %s stands twice", ErrValue, full)
		}
		seen[key] = true
		f, ok := find(known, key)
		switch {
		case ok && f.tag.Get("lint") == "-":
			l.value(full, value, nil)
		case ok && !opaque(f.typ):
			l.value(full, value, []reflect.Type{f.typ})
		case ok || !closed:
			l.value(full, value, element(types))
		default:
			l.unknown = append(l.unknown, unknownKey(full, key, known))
			l.value(full, value, nil)
		}
	}
}

// pathMax is how far a path is written out, in bytes: an input of megabytes may have
// one for each of its values.
const pathMax = 256

func extend(path, key string) string {
	if strings.HasSuffix(path, "…") {
		return path
	}
	if path = joined(path, key); len(path) > pathMax {
		path = strings.ToValidUTF8(path[:pathMax], "") + "…"
	}
	return path
}

// known gives the keys that an object may have; closed says that there are no
// others.
func known(types []reflect.Type) (all []field, closed bool) {
	structs := 0
	for _, t := range types {
		if t.Kind() == reflect.Struct && !opaque(t) && !textual(t) {
			structs++
			all = append(all, fields(t)...)
		}
	}
	return all, structs > 0 && !slices.ContainsFunc(types, isMap)
}

// find looks for a key, whatever its case. Where two types know it, the one that
// says more of it counts.
func find(known []field, key string) (found field, ok bool) {
	for _, f := range known {
		if strings.EqualFold(f.key, key) && (!ok || opaque(found.typ)) {
			found, ok = f, true
		}
	}
	return found, ok
}

// element is what reads the members of a list or a map.
func element(types []reflect.Type) []reflect.Type {
	for _, t := range types {
		if (t.Kind() == reflect.Slice || t.Kind() == reflect.Map) && !opaque(t) && !opaque(deref(t.Elem())) {
			return []reflect.Type{deref(t.Elem())}
		}
	}
	return nil
}

func unknownKey(path, key string, known []field) error {
	near := nearest(key, known)
	if near == "" {
		return fmt.Errorf("%w %s", ErrKey, path)
	}
	return fmt.Errorf("%w %s: did you mean %s?", ErrKey, path, near)
}

// nearest finds the known key that a slip of the hand may have meant.
func nearest(key string, known []field) string {
	best, distance := "", max(1, len(key)/3)+1
	if len(key) > pathMax {
		return ""
	}
	for _, f := range known {
		d := edits(strings.ToLower(key), strings.ToLower(f.key))
		if d < distance || d == distance && strings.ToLower(f.key) < strings.ToLower(best) {
			best, distance = f.key, d
		}
	}
	return best
}

// edits counts the insertions, deletions, replacements and exchanges of
// neighbours from a to b.
func edits(a, b string) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			next[j] = row[j-1]
			if a[i-1] != b[j-1] {
				next[j] = 1 + min(row[j-1], row[j], next[j-1])
			}
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
