package wire

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Element is one member of a set or map.
type Element struct {
	Set string `json:"set"`
	Key []byte `json:"key"`
	// Data is what a map gives for the key.
	Data []byte `json:"data,omitempty"`
	// Jump is the chain that a verdict map's verdict leads to.
	Jump string `json:"jump,omitempty"`
}

// encode is the element as an attribute, with a comment.
func (e Element) encode(comment string) Attr {
	parts := []Attr{Value(unix.NFTA_SET_ELEM_KEY, e.Key)}
	if e.Data != nil {
		parts = append(parts, Value(unix.NFTA_SET_ELEM_DATA, e.Data))
	}
	if e.Jump != "" {
		parts = append(parts, Nest(unix.NFTA_SET_ELEM_DATA, verdictData(unix.NFT_JUMP, e.Jump)))
	}
	if comment != "" {
		parts = append(parts, Bytes(unix.NFTA_SET_ELEM_USERDATA, Comment(comment)))
	}
	return Nest(unix.NFTA_LIST_ELEM, parts...)
}

func (t Table) elements(kind, flags uint16, set string, elements ...Attr) Message {
	return t.Message(kind, flags,
		String(unix.NFTA_SET_ELEM_LIST_SET, set), Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, elements...))
}

// Add adds an element, which may be there already.
func (t Table) Add(e Element, comment string) Message {
	return t.elements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, e.Set, e.encode(comment))
}

// Create adds an element that must not be there.
func (t Table) Create(e Element, comment string) Message {
	return t.elements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE|unix.NLM_F_EXCL, e.Set, e.encode(comment))
}

// Delete removes an element, which must be there.
func (t Table) Delete(e Element) Message {
	return t.elements(unix.NFT_MSG_DELSETELEM, 0, e.Set, Element{Key: e.Key}.encode(""))
}

// Found is an element as the kernel gives it.
type Found struct {
	Key, Data []byte
	Comment   string
}

// Is reports whether the element was found.
func (f Found) Is(e Element) bool { return f.Key != nil && bytes.Equal(f.Key, e.Key) }

// decode reads the elements out of one answer.
func decode(answer []byte) (out []Found) {
	for _, element := range Attrs(Find(answer, unix.NFTA_SET_ELEM_LIST_ELEMENTS)) {
		out = append(out, Found{
			Key:     Find(element, unix.NFTA_SET_ELEM_KEY, unix.NFTA_DATA_VALUE),
			Data:    Find(element, unix.NFTA_SET_ELEM_DATA, unix.NFTA_DATA_VALUE),
			Comment: ReadComment(Find(element, unix.NFTA_SET_ELEM_USERDATA)),
		})
	}
	return out
}

// Get asks for one element. Of one that is not there the key is nil.
func (c *Conn) Get(t Table, e Element) (f Found, err error) {
	answers, err := c.Ask(t.elements(unix.NFT_MSG_GETSETELEM, 0, e.Set, Element{Key: e.Key}.encode("")))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return f, fmt.Errorf("look up an element of set %s: %w", e.Set, err)
	}
	for _, a := range answers {
		if found := decode(a); len(found) > 0 {
			return found[0], nil
		}
	}
	return f, nil
}

// Dump lists a set. One that is not there has nothing.
func (c *Conn) Dump(t Table, set string) (out []Found, err error) {
	answers, err := c.Ask(t.Message(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, String(unix.NFTA_SET_ELEM_LIST_SET, set)))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("list nftables set %s: %w", set, err)
	}
	for _, a := range answers {
		out = append(out, decode(a)...)
	}
	return out, nil
}

// Sets lists the names of a table's sets.
func (c *Conn) Sets(t Table) (names []string, err error) {
	answers, err := c.Ask(t.Message(unix.NFT_MSG_GETSET, unix.NLM_F_DUMP))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("list the sets of nftables table %s: %w", t.Name, err)
	}
	for _, a := range answers {
		names = append(names, Text(Find(a, unix.NFTA_SET_NAME)))
	}
	return names, nil
}
