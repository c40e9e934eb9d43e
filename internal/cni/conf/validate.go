package conf

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Defaults gives the texts of a struct that are empty what the tag default says.
// Fields of other types tell by a pointer that a key is not there.
func Defaults(v any) {
	walk("", reflect.ValueOf(v), func(_ string, f field, v reflect.Value) {
		if standIn := f.tag.Get("default"); standIn != "" && v.Kind() == reflect.String && v.Len() == 0 {
			v.SetString(standIn)
		}
	})
}

// Validate holds the values of a decoded struct against its fields' tags.
func Validate(v any) error {
	var errs []error
	walk("", reflect.ValueOf(v), func(path string, f field, v reflect.Value) {
		errs = append(errs, inRange(path, v, f.tag))
	})
	return errors.Join(errs...)
}

// walk visits what is there of a struct: its fields, and those below them and in
// lists. Of a pointer it is what that points at.
func walk(path string, v reflect.Value, visit func(path string, f field, v reflect.Value)) {
	switch v = reflect.Indirect(v); {
	case !v.IsValid(), opaque(v.Type()), textual(v.Type()):
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			walk(fmt.Sprintf("%s[%d]", path, i), v.Index(i), visit)
		}
	case v.Kind() == reflect.Struct:
		for _, f := range fields(v.Type()) {
			value, err := v.FieldByIndexErr(f.index) // an embedded pointer that is nil holds nothing
			if value = reflect.Indirect(value); err == nil && value.IsValid() {
				full := joined(path, f.key)
				visit(full, f, value)
				walk(full, value, visit)
			}
		}
	}
}

func inRange(key string, v reflect.Value, tag reflect.StructTag) error {
	switch {
	case v.CanInt():
		return bounds(key, float64(v.Int()), tag)
	case v.CanUint():
		return bounds(key, float64(v.Uint()), tag)
	case v.Kind() == reflect.String && tag.Get("enum") != "" && v.String() != "":
		if allowed := strings.Split(tag.Get("enum"), ","); !slices.Contains(allowed, v.String()) {
			return fmt.Errorf("%w: %s is %q, and can be %s", ErrValue, key, v.String(), strings.Join(allowed, ", "))
		}
	}
	return nil
}

func bounds(key string, n float64, tag reflect.StructTag) error {
	low, noLow := strconv.ParseFloat(tag.Get("min"), 64)
	high, noHigh := strconv.ParseFloat(tag.Get("max"), 64)
	switch {
	case noLow == nil && n < low && noHigh == nil, noHigh == nil && n > high && noLow == nil:
		return fmt.Errorf("%w: %s is %.0f, and can be %.0f to %.0f", ErrValue, key, n, low, high)
	case noLow == nil && n < low:
		return fmt.Errorf("%w: %s is %.0f, and can be %.0f or more", ErrValue, key, n, low)
	case noHigh == nil && n > high:
		return fmt.Errorf("%w: %s is %.0f, and can be %.0f at most", ErrValue, key, n, high)
	}
	return nil
}
