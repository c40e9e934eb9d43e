// Package json is encoding/json for a process that lives for a millisecond. The
// library plans how to read and write a type before it does so the first time,
// which pays for servers; a plugin does everything a first time. This package
// goes through values as they come. What it does not know how to do, and all
// that is wrong, it leaves to the library: results and errors are always the
// library's.
package json

import (
	"bytes"
	"encoding/json"
	"reflect"
)

// The library's types that configurations have and its errors.
type (
	RawMessage         = json.RawMessage
	Marshaler          = json.Marshaler
	Unmarshaler        = json.Unmarshaler
	SyntaxError        = json.SyntaxError
	UnmarshalTypeError = json.UnmarshalTypeError
)

// Valid says that a text is JSON.
func Valid(data []byte) bool { return json.Valid(data) }

// Unmarshal reads a value into what v points to, as encoding/json does.
func Unmarshal(data []byte, v any) error {
	p := reflect.ValueOf(v)
	if p.Kind() != reflect.Pointer || p.IsNil() || !json.Valid(data) {
		return json.Unmarshal(data, v)
	}
	before := reflect.New(p.Type().Elem()).Elem()
	before.Set(p.Elem())
	r := reader{text: data}
	if r.fill(p.Elem()) {
		return nil
	}
	p.Elem().Set(before)
	return json.Unmarshal(data, v)
}

// Marshal writes a value, as encoding/json does.
func Marshal(v any) ([]byte, error) {
	if out, ok := new(shapes).write(nil, reflect.ValueOf(v)); ok {
		return out, nil
	}
	return json.Marshal(v)
}

// MarshalIndent writes a value over several lines, as encoding/json does.
func MarshalIndent(v any, prefix, indent string) ([]byte, error) {
	out, err := Marshal(v)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = json.Indent(&b, out, prefix, indent)
	return b.Bytes(), err
}
