package conf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Document is a configuration's text, read once: all that looks at it goes by
// what is where in it.
type Document struct {
	text []byte
	root node
	err  error // where it is no JSON
}

// node is a value of the text. An object has members, a list elements.
type node struct {
	from, to int
	members  []member
	elements []node
}

// member is a key of an object and its value. It begins behind the member before
// it, with the comma.
type member struct {
	from  int
	key   string
	value node
}

func (n node) of(text []byte) []byte { return text[n.from:n.to] }

// Parse reads a text. Where it is no JSON, Err says so with the place.
func Parse(text []byte) *Document {
	d := &Document{text: text}
	if d.err = Explain(text, json.Unmarshal(text, new(json.RawMessage))); d.err == nil {
		d.root = tree(text)
	}
	return d
}

// Err is what is wrong with the text as JSON.
func (d *Document) Err() error { return d.err }

// Into reads the configuration into a struct. Keys match whatever their case, as
// runtimes rely on, and one whose value is empty or null is taken as absent. Of
// several wrong types the first is reported and the rest of the configuration is
// read all the same. What no key says is as the tag default says, also beside an
// error.
func (d *Document) Into(v any) error {
	defer Defaults(v)
	if d.err != nil {
		return d.err
	}
	text := bytes.Clone(d.text)
	d.root.blankEmpty(text, reflect.TypeOf(v))
	err := Explain(text, json.Unmarshal(text, v))
	if err != nil && !errors.Is(err, ErrType) && !errors.Is(err, ErrValue) {
		return fmt.Errorf("%w: %v", ErrType, err) // by a type that reads its own JSON
	}
	return err
}

// Read is Into, and validates what could be read.
func (d *Document) Read(v any) error {
	if err := d.Into(v); err != nil {
		return err
	}
	return Validate(v)
}

// Decode is Parse and Into, for who reads a text for one purpose.
func Decode(text []byte, v any) error { return Parse(text).Into(v) }

// Read is Parse and Document.Read.
func Read(text []byte, v any) error { return Parse(text).Read(v) }

// tree goes through a text that is JSON.
func tree(text []byte) node {
	p := parser{json.NewDecoder(bytes.NewReader(text)), text}
	p.UseNumber()
	return p.value()
}

type parser struct {
	*json.Decoder
	text []byte
}

func (p parser) value() node {
	n := node{from: int(p.InputOffset())}
	n.from += len(p.text[n.from:]) - len(bytes.TrimLeft(p.text[n.from:], " \t\r\n,:"))
	switch first, _ := p.Token(); first {
	case json.Delim('{'):
		for p.More() {
			m := member{from: int(p.InputOffset())}
			key, _ := p.Token()
			m.key, _ = key.(string)
			m.value = p.value()
			n.members = append(n.members, m)
		}
		_, _ = p.Token()
	case json.Delim('['):
		for p.More() {
			n.elements = append(n.elements, p.value())
		}
		_, _ = p.Token()
	}
	n.to = int(p.InputOffset())
	return n
}

// path names the value that ends, or is open, at an offset: its keys, and its
// places in lists.
func (n node) path(offset int) string {
	for _, m := range n.members {
		if m.value.from < offset && offset <= m.value.to {
			return joined(m.key, m.value.path(offset))
		}
	}
	for i, e := range n.elements {
		if e.from < offset && offset <= e.to {
			return joined(fmt.Sprintf("[%d]", i), e.path(offset))
		}
	}
	return ""
}

func joined(above, below string) string {
	if above == "" || below == "" || strings.HasPrefix(below, "[") {
		return above + below
	}
	return above + "." + below
}
