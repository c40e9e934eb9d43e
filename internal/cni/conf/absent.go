package conf

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
)

// withoutEmpty blanks out the keys of a struct whose value is empty: null, "", []
// and {} say no more than a key that is left out, and clients write them for what
// they have nothing to say of. Offsets stay as they are. A key whose field has the
// tag empty:"counts" says something by being there.
func withoutEmpty(data []byte, t reflect.Type) []byte {
	out := bytes.Clone(data)
	blankEmpty(out, t)
	return out
}

// blankEmpty is withoutEmpty in place. It stops where the text is no JSON any
// more, which is for the decoder to say.
func blankEmpty(text []byte, t reflect.Type) {
	t = deref(t)
	if opaque(t) || textual(t) {
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		blankMembers(text, fields(t))
	case reflect.Map:
		eachMember(text, func(_ string, _, value span) { blankEmpty(value.of(text), t.Elem()) })
	case reflect.Slice, reflect.Array:
		eachElement(text, func(value span) { blankEmpty(value.of(text), t.Elem()) })
	}
}

// blankMembers leaves an object with a comma between each two of the members
// that stay.
func blankMembers(text []byte, known []field) {
	stay := false
	eachMember(text, func(key string, member, value span) {
		f, ok := find(known, key)
		if ok && Empty(value.of(text)) && f.takes(value.of(text)) && f.tag.Get("empty") != "counts" {
			member.blank(text)
			return
		}
		if !stay {
			member.blankComma(text)
		}
		stay = true
		if ok {
			blankEmpty(value.of(text), f.typ)
		}
	})
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

// span is a part of a text.
type span struct{ from, to int }

func (s span) of(text []byte) []byte { return text[s.from:s.to] }

func (s span) blank(text []byte) { copy(text[s.from:s.to], strings.Repeat(" ", s.to-s.from)) }

// blankComma blanks the comma that a member begins with.
func (s span) blankComma(text []byte) {
	if at := bytes.IndexAny(s.of(text), `,"`); at >= 0 && text[s.from+at] == ',' {
		text[s.from+at] = ' '
	}
}

// eachMember gives an object's members, each with the comma before it.
func eachMember(text []byte, do func(key string, member, value span)) {
	walk(text, '{', func(d *json.Decoder) bool {
		from := int(d.InputOffset())
		key, err := d.Token()
		name, ok := key.(string)
		if err != nil || !ok {
			return false
		}
		value, ok := next(d)
		if ok {
			do(name, span{from, value.to}, value)
		}
		return ok
	})
}

func eachElement(text []byte, do func(value span)) {
	walk(text, '[', func(d *json.Decoder) bool {
		value, ok := next(d)
		if ok {
			do(value)
		}
		return ok
	})
}

// walk goes through a list or an object for as long as each step succeeds.
func walk(text []byte, open json.Delim, step func(*json.Decoder) bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	if first, err := d.Token(); err != nil || first != open {
		return
	}
	for d.More() && step(d) {
	}
}

// next reads one value.
func next(d *json.Decoder) (span, bool) {
	var value json.RawMessage
	if d.Decode(&value) != nil || len(value) == 0 {
		return span{}, false
	}
	to := int(d.InputOffset())
	return span{to - len(value), to}, true
}
