package conf

import (
	"bytes"
	"reflect"
)

// blankEmpty blanks out the keys of a struct whose value is empty: null, "", []
// and {} say no more than a key that is left out, and clients write them for what
// they have nothing to say of. Offsets stay as they are. A key whose field has the
// tag empty:"counts" says something by being there.
func (n node) blankEmpty(text []byte, t reflect.Type) {
	t = deref(t)
	if opaque(t) || textual(t) {
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		n.blankMembers(text, fields(t))
	case reflect.Map:
		for _, m := range n.members {
			m.value.blankEmpty(text, t.Elem())
		}
	case reflect.Slice, reflect.Array:
		for _, e := range n.elements {
			e.blankEmpty(text, t.Elem())
		}
	}
}

// blankMembers leaves an object with a comma between each two of the members
// that stay.
func (n node) blankMembers(text []byte, known []field) {
	stay := false
	for _, m := range n.members {
		value := m.value.of(text)
		f, ok := find(known, m.key)
		if ok && Empty(value) && f.takes(value) && f.tag.Get("empty") != "counts" {
			copy(text[m.from:m.value.to], bytes.Repeat([]byte{' '}, m.value.to-m.from))
			continue
		}
		if at := bytes.IndexAny(text[m.from:m.value.to], `,"`); !stay && text[m.from+at] == ',' {
			text[m.from+at] = ' '
		}
		stay = true
		if ok {
			m.value.blankEmpty(text, f.typ)
		}
	}
}

// takes reports whether an empty value is not of a wrong type: [] for an object,
// or {} for a list.
func (f field) takes(empty []byte) bool {
	switch kind := schemaOf(f.typ)["type"]; empty[0] {
	case '[':
		return kind == "array" || kind == nil
	case '{':
		return kind == "object" || kind == nil
	}
	return true
}

// Empty reports whether a value says no more than a key that is left out. There
// are no blanks around it.
func Empty(value []byte) bool {
	switch value[0] {
	case '[', '{':
		return len(bytes.TrimSpace(value[1:len(value)-1])) == 0
	}
	return string(value) == "null" || string(value) == `""`
}
