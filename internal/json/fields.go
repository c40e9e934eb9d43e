package json

import (
	"reflect"
	"strings"
)

// member is a field of a struct as an object has it.
type member struct {
	key       string
	value     reflect.Value
	omitEmpty bool
}

// members lists the fields of a struct, those of embedded structs in the place
// of these. It is not ok where the library's rules for ambiguous names, or other
// options than omitempty, would be needed.
func members(v reflect.Value) (list []member, ok bool) {
	t := v.Type()
	list = make([]member, 0, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		key, option, _ := strings.Cut(tag, ",")
		switch {
		case tag == "-", !f.IsExported() && !f.Anonymous:
			continue
		case f.Anonymous && key == "":
			if f.Type.Kind() != reflect.Struct {
				return nil, false
			}
			inner, ok := members(v.Field(i))
			if !ok {
				return nil, false
			}
			list = append(list, inner...)
			continue
		case option != "" && option != "omitempty", !f.IsExported():
			return nil, false
		case key == "":
			key = f.Name
		}
		list = append(list, member{key, v.Field(i), option != ""})
	}
	return list, unambiguous(list)
}

func unambiguous(list []member) bool {
	for i, m := range list {
		for _, other := range list[:i] {
			if m.key == other.key {
				return false
			}
		}
	}
	return true
}

// find gives the field for a key: that of the very name, or else of one that
// differs in case.
func find(list []member, key string) (v reflect.Value, found bool) {
	for _, m := range list {
		if m.key == key {
			return m.value, true
		}
	}
	for _, m := range list {
		if strings.EqualFold(m.key, key) {
			return m.value, true
		}
	}
	return v, false
}

// HasMethods says that a type could read or write itself. Of most it is quickly
// told that they could not.
func HasMethods(t reflect.Type) bool {
	return t.PkgPath() != "" && reflect.PointerTo(t).NumMethod() > 0
}
