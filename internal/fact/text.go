package fact

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Text is a fact's text: its words, less those that are empty.
func Text(words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
}

// Word is what a text says of a setting: its name and value, or its name alone
// where the value is true, or the value alone where that has no name. Of what is
// not set (0, "", false, nil) it says nothing.
func Word(name string, value any) string {
	v := reflect.ValueOf(value)
	switch {
	case !v.IsValid() || v.IsZero():
		return ""
	case v.Kind() == reflect.Bool:
		return name
	case v.Kind() == reflect.Pointer:
		value = v.Elem()
	}
	return strings.TrimSpace(fmt.Sprintf("%s %v", name, value))
}

// Words is Word for each of several values.
func Words[T any](name string, values []T) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = Word(name, v)
	}
	return Text(words...)
}
