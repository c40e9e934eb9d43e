package json

import (
	"reflect"
	"slices"
	"strings"
)

// member is a field of a struct as an object has it.
type member struct {
	key       string
	index     []int
	omitEmpty bool
}

// shape is the fields of a struct type. It is not ok where the library's rules
// for ambiguous names, or other options than omitempty, would be needed.
type shape struct {
	of      reflect.Type
	members []member
	ok      bool
}

// shapes are those of the types that were met: a list has its type many times.
type shapes []shape

func (s *shapes) get(t reflect.Type) ([]member, bool) {
	for _, known := range *s {
		if known.of == t {
			return known.members, known.ok
		}
	}
	list, ok := members(make([]member, 0, t.NumField()), t, nil)
	ok = ok && unambiguous(list)
	*s = append(*s, shape{t, list, ok})
	return list, ok
}

// members appends the fields of a struct type, those of embedded structs in the
// place of these.
func members(list []member, t reflect.Type, above []int) (out []member, ok bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		key, option, _ := strings.Cut(tag, ",")
		index := f.Index
		if above != nil {
			index = append(slices.Clip(above), i)
		}
		switch {
		case tag == "-", !f.IsExported() && !f.Anonymous:
			continue
		case f.Anonymous && key == "":
			if f.Type.Kind() != reflect.Struct {
				return nil, false
			}
			if list, ok = members(list, f.Type, index); !ok {
				return nil, false
			}
			continue
		case option != "" && option != "omitempty", !f.IsExported():
			return nil, false
		case key == "":
			key = f.Name
		}
		list = append(list, member{key, index, option != ""})
	}
	return list, true
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
func find(list []member, key string) (index []int, found bool) {
	for _, m := range list {
		if m.key == key {
			return m.index, true
		}
	}
	for _, m := range list {
		if strings.EqualFold(m.key, key) {
			return m.index, true
		}
	}
	return nil, false
}

// HasMethods says that a type could read or write itself. Of most it is quickly
// told that they could not.
func HasMethods(t reflect.Type) bool {
	return t.PkgPath() != "" && reflect.PointerTo(t).NumMethod() > 0
}
