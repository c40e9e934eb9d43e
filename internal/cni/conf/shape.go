package conf

import (
	"cmp"
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"sync"
)

// field is one key that a struct takes.
type field struct {
	key   string
	typ   reflect.Type
	tag   reflect.StructTag
	index []int
}

// fieldsOf is what fields has found, by reflect.Type: a configuration is gone
// through five times.
var fieldsOf sync.Map

// fields lists the keys of a struct type; embedded structs add theirs.
func fields(t reflect.Type) (out []field) {
	if known, is := fieldsOf.Load(t); is {
		return known.([]field)
	}
	for _, f := range reflect.VisibleFields(t) {
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if key != "-" && f.IsExported() && !(f.Anonymous && deref(f.Type).Kind() == reflect.Struct) {
			out = append(out, field{key: cmp.Or(key, f.Name), typ: deref(f.Type), tag: f.Tag, index: f.Index})
		}
	}
	fieldsOf.Store(t, out)
	return out
}

func deref(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

var (
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func isMap(t reflect.Type) bool { return t.Kind() == reflect.Map }

// opaque types read their JSON themselves: nothing is known of their keys.
func opaque(t reflect.Type) bool {
	return t == nil || t.Kind() == reflect.Interface || reflect.PointerTo(t).Implements(jsonUnmarshaler)
}

// textual types are written as a JSON string.
func textual(t reflect.Type) bool {
	return !opaque(t) && reflect.PointerTo(t).Implements(textUnmarshaler)
}

func typesOf(shapes []any) []reflect.Type {
	var out []reflect.Type
	for _, s := range shapes {
		out = append(out, deref(reflect.TypeOf(s)))
	}
	return out
}
