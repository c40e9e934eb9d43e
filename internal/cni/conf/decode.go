// Package conf reads JSON configurations for people who make mistakes: what is
// wrong is said with its place or its key, what is out of range with the range,
// and a key that nobody knows with the one that was meant. It also writes the
// JSON Schema of what it reads. All of it comes from the Go types, whose fields
// carry the tags
//
//	doc:"what the key does"   enum:"a,b"   min:"0"   max:"4094"   default:"cni0"
//
// of which default counts for texts (Defaults), and lint:"-" where keys below are not the configuration's author's.
package conf

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Problem classes. A caller turns them into its own error codes.
var (
	ErrSyntax = errors.New("not valid JSON")
	ErrType   = errors.New("wrong type")
	ErrValue  = errors.New("value not allowed")
	ErrKey    = errors.New("unknown key")
)

// Explain says for people what decoding data ended with, where it is JSON's fault.
func Explain(data []byte, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		line, column := place(data, syntax.Offset)
		return fmt.Errorf("%w: line %d, column %d: %v", ErrSyntax, line, column, syntax)
	case errors.As(err, &kind):
		path, known := where(data, kind)
		err = fmt.Errorf("%w: %s is to be %s, not %s", ErrType, cmp.Or(path, "the configuration"), kindName(kind.Type), kind.Value)
		if known {
			line, column := place(data, kind.Offset)
			err = fmt.Errorf("%w (line %d, column %d)", err, line, column)
		}
		return err
	}
	return err
}

// where names the value that an error is about. A type that reads its own JSON
// counts offsets from its beginning; then the library's path is all that there is.
func where(data []byte, e *json.UnmarshalTypeError) (path string, known bool) {
	path = tree(data).path(int(e.Offset))
	key := e.Field[strings.LastIndexByte(e.Field, '.')+1:] // behind the names of types that are embedded
	for part := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '.' || r == '[' }) {
		if strings.EqualFold(part, key) {
			return path, true
		}
	}
	return e.Field, e.Field == ""
}

// place turns an offset into what an editor shows.
func place(data []byte, offset int64) (line, column int) {
	before := data[:min(int(offset), len(data))]
	line = 1 + bytes.Count(before, []byte{'\n'})
	column = len(before) - bytes.LastIndexByte(before, '\n') - 1
	return line, max(column, 1)
}

// kindName is the JSON word for a Go type.
func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number from 0 on"
	case reflect.Pointer:
		return kindName(t.Elem())
	}
	return strings.ToLower(t.String())
}
