package conf

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Schema is the JSON Schema (draft 2020-12) of the configuration that the
// shapes read together.
func Schema(title string, shapes ...any) ([]byte, error) {
	s := object(typesOf(shapes))
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = title
	return json.MarshalIndent(s, "", "  ")
}

func object(types []reflect.Type) map[string]any {
	properties := map[string]any{}
	all, _ := known(types)
	for _, f := range all {
		f, _ = find(all, f.key)
		p := schemaOf(f.typ)
		describe(p, f)
		if f.tag.Get("lint") == "-" {
			loosen(p)
		}
		properties[f.key] = p
	}
	return map[string]any{"type": "object", "properties": properties, "additionalProperties": slices.ContainsFunc(types, isMap)}
}

// loosen allows other keys, in the object and in those below it.
func loosen(schema map[string]any) {
	delete(schema, "additionalProperties")
	properties, _ := schema["properties"].(map[string]any)
	for _, p := range properties {
		loosen(p.(map[string]any))
	}
}

func schemaOf(t reflect.Type) map[string]any {
	if own, ok := reflect.New(t).Interface().(interface{ JSONSchema() map[string]any }); ok {
		return own.JSONSchema()
	}
	switch {
	case opaque(t):
		return map[string]any{}
	case textual(t):
		return map[string]any{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(deref(t.Elem()))}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(deref(t.Elem()))}
	case reflect.Struct:
		return object([]reflect.Type{t})
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return map[string]any{"type": "integer", "minimum": 0}
	}
	return map[string]any{"type": "integer"}
}

// describe adds to a property what the field's tags say of it.
func describe(p map[string]any, f field) {
	if doc := f.tag.Get("doc"); doc != "" {
		p["description"] = doc
	}
	if enum := f.tag.Get("enum"); enum != "" {
		p["enum"] = strings.Split(enum, ",")
	}
	for tag, word := range map[string]string{"min": "minimum", "max": "maximum"} {
		if n, err := strconv.ParseInt(f.tag.Get(tag), 10, 64); err == nil {
			p[word] = n
		}
	}
	if value := f.tag.Get("default"); value != "" {
		p["default"] = literal(value)
	}
}

// literal reads a tag's value as JSON where it is, as a string elsewhere.
func literal(s string) any {
	var v any
	if json.Unmarshal([]byte(s), &v) == nil {
		return v
	}
	return s
}
