package nft

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Element is one member of a set or map.
type Element struct {
	// Set is the name of the set.
	Set string `json:"set"`
	// Key is what the kernel compares; where End is given, the first of a range.
	Key []byte `json:"key"`
	End []byte `json:"end,omitempty"`
	// Data is what a map gives for the key.
	Data []byte `json:"data,omitempty"`
	// Jump is the chain that a verdict map's verdict leads to.
	Jump string `json:"jump,omitempty"`
	// Shared members belong to nobody, and stay.
	Shared bool `json:"shared,omitempty"`
	// Text is the element as the nft program writes it.
	Text string `json:"text"`
}

func (e Element) String() string { return e.Set + " { " + e.Text + " }" }

// encode is the element as an attribute, with its owner's comment.
func (e Element) encode(owner string) attr {
	parts := []attr{value(unix.NFTA_SET_ELEM_KEY, e.Key)}
	if e.End != nil {
		parts = append(parts, value(elemKeyEnd, e.End))
	}
	if e.Data != nil {
		parts = append(parts, value(unix.NFTA_SET_ELEM_DATA, e.Data))
	}
	if e.Jump != "" {
		parts = append(parts, nest(unix.NFTA_SET_ELEM_DATA, verdictData(unix.NFT_JUMP, e.Jump)))
	}
	if owner != "" {
		parts = append(parts, bytesAttr(unix.NFTA_SET_ELEM_USERDATA, comment(owner)))
	}
	return nest(unix.NFTA_LIST_ELEM, parts...)
}

// found is an element as the kernel gives it.
type found struct {
	key, end, data []byte
	comment        string
}

// decodeElements reads the elements out of one answer.
func decodeElements(answer []byte) []found {
	var out []found
	for kind, list := range attrs(answer) {
		if kind != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			continue
		}
		for _, element := range attrs(list) {
			out = append(out, decodeElement(element))
		}
	}
	return out
}

func decodeElement(b []byte) (f found) {
	for kind, data := range attrs(b) {
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			f.key = decodeValue(data)
		case elemKeyEnd:
			f.end = decodeValue(data)
		case unix.NFTA_SET_ELEM_DATA:
			f.data = decodeValue(data)
		case unix.NFTA_SET_ELEM_USERDATA:
			f.comment = readComment(data)
		}
	}
	return f
}

// readComment is the text that comment made.
func readComment(b []byte) string {
	if len(b) <= 2 || b[0] != 0 || int(b[1]) > len(b)-2 {
		return ""
	}
	return string(bytes.TrimRight(b[2:2+int(b[1])], "\x00"))
}

func decodeValue(b []byte) []byte {
	for kind, data := range attrs(b) {
		if kind == unix.NFTA_DATA_VALUE {
			return data
		}
	}
	return nil
}

// elementMessage is a message about elements of one set.
func (t *table) elementMessage(kind, flags uint16, set string, elements ...attr) message {
	return message{kind, flags, t.family, []attr{
		stringAttr(unix.NFTA_SET_ELEM_LIST_TABLE, t.name), stringAttr(unix.NFTA_SET_ELEM_LIST_SET, set),
		nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, elements...),
	}}
}

// member is a message that adds an element.
func (t *table) member(e *Element, comment string) message {
	return t.elementMessage(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, e.Set, e.encode(comment))
}

// get asks the kernel for one element; ok is false where it is not there. The
// kernel answers with whatever range holds the first of the one it is asked for.
func (c conn) get(t *table, e Element) (f found, ok bool, err error) {
	all, err := c.getEach(t, []Element{e})
	if err != nil {
		return found{}, false, err
	}
	return all[0], all[0].is(e), nil
}

// getEach is get for many. Of one that is not there, nor any range that holds it,
// the key is nil.
func (c conn) getEach(t *table, elements []Element) ([]found, error) {
	questions := make([]message, len(elements))
	for i, e := range elements {
		questions[i] = t.elementMessage(unix.NFT_MSG_GETSETELEM, 0, e.Set, Element{Key: e.Key, End: e.End}.encode(""))
	}
	answers, err := c.askEach(questions)
	if err != nil {
		return nil, fmt.Errorf("look up %v: %w", elements[0], err)
	}
	out := make([]found, len(elements))
	for i, a := range answers {
		for _, f := range decodeElements(a) {
			out[i] = f
		}
	}
	return out, nil
}

// is reports whether what was found is the element, and not a range around it.
func (f found) is(e Element) bool {
	return f.key != nil && bytes.Equal(f.key, e.Key) && (e.End == nil || bytes.Equal(f.end, e.End))
}

// dump lists a set. It is for GC and for errors alone.
func (c conn) dump(t *table, set string) ([]found, error) {
	answers, err := c.ask(message{unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, t.family, []attr{
		stringAttr(unix.NFTA_SET_ELEM_LIST_TABLE, t.name), stringAttr(unix.NFTA_SET_ELEM_LIST_SET, set),
	}})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list nftables set %s: %w", set, err)
	}
	var out []found
	for _, a := range answers {
		out = append(out, decodeElements(a)...)
	}
	return out, nil
}

// fields joins the parts of a concatenation, each padded to whole registers.
func fields(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
		out = append(out, make([]byte, -len(p)&3)...)
	}
	return out
}

// last is the highest address of a prefix.
func last(p netip.Prefix) []byte {
	a := p.Masked().Addr().AsSlice()
	mask := net.CIDRMask(p.Bits(), len(a)*8)
	for i := range a {
		a[i] |= ^mask[i]
	}
	return a
}

// version is the digit that the names of sets for an address end in.
func version(a netip.Addr) string {
	if a.Is6() {
		return "6"
	}
	return "4"
}
