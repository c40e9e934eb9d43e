package json

import (
	"encoding"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strconv"

	"github.com/catena-cni/catena/internal/lists"
)

// write appends a value's text.
func (s *shapes) write(b []byte, v reflect.Value) (out []byte, ok bool) {
	switch v.Kind() {
	case reflect.Invalid:
		return append(b, "null"...), true
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return append(b, "null"...), true
		}
		if v.Kind() == reflect.Interface || !HasMethods(v.Type().Elem()) {
			return s.write(b, v.Elem())
		}
		return s.writeItself(b, v)
	}
	if HasMethods(v.Type()) {
		return s.writeItself(b, v)
	}
	return s.writePlain(b, v)
}

// writeItself is for types that may have a way of their own to be written.
func (s *shapes) writeItself(b []byte, v reflect.Value) ([]byte, bool) {
	methods := v
	if v.Kind() != reflect.Pointer && v.CanAddr() {
		methods = v.Addr()
	}
	switch m := methods.Interface().(type) {
	case json.Marshaler:
		return b, false
	case encoding.TextMarshaler:
		text, err := m.MarshalText()
		out, ok := writeString(b, string(text))
		return out, ok && err == nil
	}
	if v.Kind() == reflect.Pointer {
		return s.writePlain(b, v.Elem())
	}
	return s.writePlain(b, v)
}

func (s *shapes) writePlain(b []byte, v reflect.Value) (out []byte, ok bool) {
	switch v.Kind() {
	case reflect.Struct:
		return s.writeStruct(b, v)
	case reflect.Slice:
		return s.writeSlice(b, v)
	case reflect.Map:
		return s.writeMap(b, v)
	case reflect.String:
		return writeString(b, v.String())
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool()), true
	}
	switch {
	case v.CanInt():
		return strconv.AppendInt(b, v.Int(), 10), true
	case v.CanUint():
		return strconv.AppendUint(b, v.Uint(), 10), true
	}
	return b, false
}

func writeString(b []byte, text string) ([]byte, bool) {
	if plain(text) {
		return append(append(append(b, '"'), text...), '"'), true
	}
	quoted, err := json.Marshal(text)
	return append(b, quoted...), err == nil
}

func (s *shapes) writeStruct(b []byte, v reflect.Value) (out []byte, ok bool) {
	list, ok := s.get(v.Type())
	if !ok {
		return b, false
	}
	b = append(b, '{')
	for _, m := range list {
		value := v.FieldByIndex(m.index)
		if m.omitEmpty && empty(value) {
			continue
		}
		b = separate(b, '{')
		if b, ok = writeString(b, m.key); !ok {
			return b, false
		}
		if b, ok = s.write(append(b, ':'), value); !ok {
			return b, false
		}
	}
	return append(b, '}'), true
}

// empty is what omitempty means.
func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

func (s *shapes) writeSlice(b []byte, v reflect.Value) (out []byte, ok bool) {
	if v.IsNil() {
		return append(b, "null"...), true
	}
	if v.Type().Elem().Kind() == reflect.Uint8 {
		b = base64.StdEncoding.AppendEncode(append(b, '"'), v.Bytes())
		return append(b, '"'), !HasMethods(v.Type().Elem())
	}
	b = append(b, '[')
	for i := range v.Len() {
		b = separate(b, '[')
		if b, ok = s.write(b, v.Index(i)); !ok {
			return b, false
		}
	}
	return append(b, ']'), true
}

func (s *shapes) writeMap(b []byte, v reflect.Value) (out []byte, ok bool) {
	if v.Type().Key().Kind() != reflect.String || HasMethods(v.Type().Key()) {
		return b, false
	}
	if v.IsNil() {
		return append(b, "null"...), true
	}
	var keys []string
	for _, key := range v.MapKeys() {
		keys = append(keys, key.String())
	}
	lists.Ascending(keys)
	b = append(b, '{')
	for _, key := range keys {
		b = separate(b, '{')
		if b, ok = writeString(b, key); !ok {
			return b, false
		}
		if b, ok = s.write(append(b, ':'), v.MapIndex(reflect.ValueOf(key).Convert(v.Type().Key()))); !ok {
			return b, false
		}
	}
	return append(b, '}'), true
}

// separate puts a comma before all but the first of what stands in brackets.
func separate(b []byte, open byte) []byte {
	if b[len(b)-1] != open {
		b = append(b, ',')
	}
	return b
}
