package json

import (
	"encoding"
	"encoding/base64"
	"encoding/json"
	"iter"
	"reflect"
	"strconv"
)

// reader steps through a text that is known to be valid.
type reader struct {
	text []byte
	at   int
	shapes
}

// next is the first byte of what comes, after blanks.
func (r *reader) next() byte {
	for r.at < len(r.text) {
		switch c := r.text[r.at]; c {
		case ' ', '\t', '\n', '\r':
			r.at++
		default:
			return c
		}
	}
	return 0
}

// take steps over a byte, if it is what comes.
func (r *reader) take(c byte) bool {
	if r.next() != c {
		return false
	}
	r.at++
	return true
}

// value steps over a whole value and gives its text.
func (r *reader) value() []byte {
	r.next()
	from, depth := r.at, 0
	for r.at < len(r.text) {
		switch r.text[r.at] {
		case '"':
			r.quoted()
		case '{', '[':
			depth++
			r.at++
		case '}', ']':
			if depth == 0 { // of the object or list that a number stands in
				return r.text[from:r.at]
			}
			depth--
			r.at++
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return r.text[from:r.at]
			}
			r.at++
			continue
		default:
			r.at++
			continue
		}
		if depth == 0 {
			break
		}
	}
	return r.text[from:r.at]
}

// quoted steps over a string and gives its text with the quotes.
func (r *reader) quoted() []byte {
	from := r.at
	for r.at++; r.text[r.at] != '"'; r.at++ {
		if r.text[r.at] == '\\' {
			r.at++
		}
	}
	r.at++
	return r.text[from:r.at]
}

// Members gives the keys and values of an object, in their order, and nothing of
// what is no object. The text is to be valid JSON.
func Members(text []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		r := reader{text: text}
		for open := r.take('{'); open && !r.take('}'); {
			r.take(',')
			key, _ := r.word()
			r.take(':')
			if !yield(key, r.value()) {
				return
			}
		}
	}
}

// Elements gives the values of a list, and nothing of what is no list. The text
// is to be valid JSON.
func Elements(text []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		r := reader{text: text}
		for open := r.take('['); open && !r.take(']'); {
			r.take(',')
			if !yield(r.value()) {
				return
			}
		}
	}
}

// word reads a string.
func (r *reader) word() (s string, ok bool) {
	if r.next() != '"' {
		return "", false
	}
	text := r.quoted()
	if plain(text[1 : len(text)-1]) {
		return string(text[1 : len(text)-1]), true
	}
	return s, json.Unmarshal(text, &s) == nil
}

// plain says that a text stands for itself between quotes, in what is read and
// in what is written.
func plain[T string | []byte](text T) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ', c > '~', c == '\\', c == '"', c == '<', c == '>', c == '&':
			return false
		}
	}
	return true
}

// fill reads what comes into a value. What it has done where it is not ok is
// undone by the caller, so it changes nothing behind pointers and in maps.
func (r *reader) fill(v reflect.Value) (ok bool) {
	null := r.next() == 'n'
	if v.Kind() == reflect.Pointer {
		return r.fillPointer(v, null)
	}
	if HasMethods(v.Type()) {
		switch u := v.Addr().Interface().(type) {
		case json.Unmarshaler:
			return u.UnmarshalJSON(r.value()) == nil
		case encoding.TextUnmarshaler:
			s, ok := r.word()
			return ok && u.UnmarshalText([]byte(s)) == nil
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		return r.fillStruct(v)
	case reflect.Slice:
		return r.fillSlice(v, null)
	case reflect.Map:
		return r.fillMap(v, null)
	case reflect.Interface:
		return v.NumMethod() == 0 && v.IsNil() && json.Unmarshal(r.value(), v.Addr().Interface()) == nil
	case reflect.String:
		s, ok := r.word()
		v.SetString(s)
		return ok
	}
	return fillScalar(v, string(r.value()))
}

func fillScalar(v reflect.Value, text string) bool {
	var err error
	switch {
	case v.Kind() == reflect.Bool && (text == "true" || text == "false"):
		v.SetBool(text == "true")
	case v.CanInt():
		var n int64
		n, err = strconv.ParseInt(text, 10, v.Type().Bits())
		v.SetInt(n)
	case v.CanUint():
		var n uint64
		n, err = strconv.ParseUint(text, 10, v.Type().Bits())
		v.SetUint(n)
	default:
		return false
	}
	return err == nil
}

func (r *reader) fillPointer(v reflect.Value, null bool) bool {
	if null {
		r.value()
		v.SetZero()
		return true
	}
	to := reflect.New(v.Type().Elem())
	if !v.IsNil() || !r.fill(to.Elem()) {
		return false
	}
	v.Set(to)
	return true
}

func (r *reader) fillStruct(v reflect.Value) bool {
	list, ok := r.shapes.get(v.Type())
	if !ok || !r.take('{') {
		return false
	}
	for !r.take('}') {
		r.take(',')
		key, ok := r.word()
		if !ok || !r.take(':') {
			return false
		}
		field, known := find(list, key)
		if !known {
			r.value()
		} else if !r.fill(v.FieldByIndex(field)) {
			return false
		}
	}
	return true
}

func (r *reader) fillSlice(v reflect.Value, null bool) bool {
	if null {
		r.value()
		v.SetZero()
		return true
	}
	if v.Len() > 0 {
		return false
	}
	if v.Type().Elem().Kind() == reflect.Uint8 {
		text, ok := r.word()
		b, err := base64.StdEncoding.DecodeString(text)
		v.SetBytes(b)
		return ok && err == nil && !HasMethods(v.Type().Elem())
	}
	if !r.take('[') {
		return false
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, 2))
	for !r.take(']') {
		r.take(',')
		n := v.Len()
		v.Grow(1)
		v.SetLen(n + 1)
		if !r.fill(v.Index(n)) {
			return false
		}
	}
	return true
}

func (r *reader) fillMap(v reflect.Value, null bool) bool {
	t := v.Type()
	if null {
		r.value()
		v.SetZero()
		return true
	}
	if !v.IsNil() || t.Key().Kind() != reflect.String || HasMethods(t.Key()) || !r.take('{') {
		return false
	}
	v.Set(reflect.MakeMap(t))
	for !r.take('}') {
		r.take(',')
		key, ok := r.word()
		element := reflect.New(t.Elem()).Elem()
		if !ok || !r.take(':') || !r.fill(element) {
			return false
		}
		v.SetMapIndex(reflect.ValueOf(key).Convert(t.Key()), element)
	}
	return true
}
