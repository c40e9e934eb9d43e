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
func Defaults(v any) { setDefaults(reflect.ValueOf(v).Elem()) }

func setDefaults(v reflect.Value) {
	switch {
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			setDefaults(v.Index(i))
		}
	case v.Kind() == reflect.Struct && !opaque(v.Type()) && !textual(v.Type()):
		for _, f := range fields(v.Type()) {
			value, err := v.FieldByIndexErr(f.index)
			if standIn := f.tag.Get("default"); standIn != "" && err == nil && value.Kind() == reflect.String && value.Len() == 0 {
				value.SetString(standIn)
			} else if err == nil {
				setDefaults(value)
			}
		}
	}
}

// Validate holds the values of a decoded struct against its fields' tags.
func Validate(v any) error {
	return validate("", reflect.ValueOf(v))
}

func validate(path string, v reflect.Value) error {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	var errs []error
	switch v.Kind() {
	case reflect.Struct:
		if opaque(v.Type()) || textual(v.Type()) {
			return nil
		}
		for _, f := range fields(v.Type()) {
			if !f.limited() {
				continue
			}
			value, err := v.FieldByIndexErr(f.index)
			if err != nil {
				continue // an embedded pointer that is nil holds nothing
			}
			full := strings.TrimPrefix(path+"."+f.key, ".")
			if err := inRange(full, value, f.tag); err != nil {
				errs = append(errs, err)
			}
			if err := validate(full, value); err != nil {
				errs = append(errs, err)
			}
		}
	case reflect.Slice:
		if opaque(v.Type()) {
			return nil
		}
		for i := range v.Len() {
			errs = append(errs, validate(fmt.Sprintf("%s[%d]", path, i), v.Index(i)))
		}
	}
	return errors.Join(errs...)
}

// limited reports whether there can be anything wrong with a value of the field:
// its tags say so, or there are other fields below it.
func (f field) limited() bool {
	switch f.typ.Kind() {
	case reflect.Struct, reflect.Slice:
		return true
	case reflect.String:
		return strings.Contains(string(f.tag), "enum:")
	}
	return strings.Contains(string(f.tag), "min:") || strings.Contains(string(f.tag), "max:")
}

func inRange(key string, v reflect.Value, tag reflect.StructTag) error {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
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
