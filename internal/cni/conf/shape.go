package conf

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// field is one key that a struct takes.
type field struct {
	key   string
	typ   reflect.Type
	tag   reflect.StructTag
	index []int
}

// fields lists the keys of a struct type; embedded structs add theirs.
func fields(t reflect.Type) []field { return appendFields(make([]field, 0, t.NumField()), t, nil) }

func appendFields(out []field, t reflect.Type, above []int) []field {
	for i := range t.NumField() {
		f := t.Field(i)
		if above != nil {
			f.Index = append(slices.Clip(above), i)
		}
		if f.Anonymous && deref(f.Type).Kind() == reflect.Struct {
			out = appendFields(out, deref(f.Type), f.Index)
			continue
		}
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if key == "-" || !f.IsExported() {
			continue
		}
		if key == "" {
			key = f.Name
		}
		out = append(out, field{key: key, typ: deref(f.Type), tag: f.Tag, index: f.Index})
	}
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
