package dbus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Kinds of messages, and the fields of their headers ("Message Format").
const (
	kindCall   = 1
	kindReturn = 2
	kindError  = 3

	noAutoStart = 2

	fieldPath        = 1
	fieldInterface   = 2
	fieldMember      = 3
	fieldErrorName   = 4
	fieldReplySerial = 5
	fieldDestination = 6
	fieldSignature   = 8
)

// sizeMax bounds a message that is received. The specification allows 128 MiB;
// a list of ten thousand addresses has less than one.
const sizeMax = 16 << 20

var errForm = errors.New("the message is not in the form of D-Bus")

// writer marshals in little-endian order ("Marshaling").
type writer struct{ b []byte }

func (w *writer) align(n int) {
	for len(w.b)%n != 0 {
		w.b = append(w.b, 0)
	}
}

func (w *writer) uint32(n uint32) {
	w.align(4)
	w.b = binary.LittleEndian.AppendUint32(w.b, n)
}

func (w *writer) string(s string) {
	w.uint32(uint32(len(s)))
	w.b = append(append(w.b, s...), 0)
}

func (w *writer) signature(s string) {
	w.b = append(append(append(w.b, byte(len(s))), s...), 0)
}

// field is a struct of a code and a variant.
func (w *writer) field(code byte, kind, value string) {
	w.align(8)
	w.b = append(w.b, code)
	w.signature(kind)
	if kind == "g" {
		w.signature(value)
		return
	}
	w.string(value)
}

func encode(m Method, serial uint32, args []string) []byte {
	var body writer
	signature := ""
	for _, a := range args {
		body.string(a)
		signature += "s"
	}
	w := writer{[]byte{'l', kindCall, noAutoStart, 1}}
	w.uint32(uint32(len(body.b)))
	w.uint32(serial)
	w.uint32(0) // the size of the fields, which is not known yet
	const fields = 16
	w.field(fieldPath, "o", m.Path)
	w.field(fieldInterface, "s", m.Interface)
	w.field(fieldMember, "s", m.Name)
	w.field(fieldDestination, "s", m.Destination)
	if signature != "" {
		w.field(fieldSignature, "g", signature)
	}
	binary.LittleEndian.PutUint32(w.b[fields-4:], uint32(len(w.b)-fields))
	w.align(8)
	return append(w.b, body.b...)
}

// reader unmarshals. Reading behind the end makes it broken, and gives nothing.
type reader struct {
	b      []byte
	at     int
	order  binary.ByteOrder
	broken bool
}

func (r *reader) take(align, n int) []byte {
	from := (r.at + align - 1) / align * align
	if r.broken || n < 0 || n > len(r.b) || from > len(r.b)-n {
		r.broken = true
		return nil
	}
	r.at = from + n
	return r.b[from:r.at]
}

func (r *reader) uint32() uint32 {
	if b := r.take(4, 4); b != nil {
		return r.order.Uint32(b)
	}
	return 0
}

func (r *reader) string() string {
	n := int(r.uint32())
	if n > sizeMax {
		r.broken = true
	}
	s := string(r.take(1, n))
	r.take(1, 1)
	return s
}

func (r *reader) signature() string {
	n := r.take(1, 1)
	if n == nil {
		return ""
	}
	s := string(r.take(1, int(n[0])))
	r.take(1, 1)
	return s
}

// Answer is what a method gave.
type Answer struct {
	kind        byte
	replySerial uint32
	errorName   string
	signature   string
	body        reader
}

// receive reads one message.
func (c *Conn) receive() (a Answer, err error) {
	head := make([]byte, 16)
	if _, err := io.ReadFull(c.reader, head); err != nil {
		return a, err
	}
	a.kind = head[1]
	var order binary.ByteOrder = binary.LittleEndian
	if head[0] == 'B' {
		order = binary.BigEndian
	}
	body, fields := order.Uint32(head[4:]), order.Uint32(head[12:])
	if body > sizeMax || fields > sizeMax || head[0] != 'l' && head[0] != 'B' {
		return a, errForm
	}
	rest := make([]byte, (int(fields)+7)/8*8+int(body))
	if _, err := io.ReadFull(c.reader, rest); err != nil {
		return a, err
	}
	a.body = reader{b: rest[len(rest)-int(body):], order: order}
	return a, a.header(reader{b: rest[:fields], order: order})
}

// header reads the fields. Those of a message's header are of these types alone.
func (a *Answer) header(r reader) error {
	for r.at < len(r.b) && !r.broken {
		code := r.take(8, 1)
		var text string
		var number uint32
		switch kind := r.signature(); kind {
		case "s", "o":
			text = r.string()
		case "g":
			text = r.signature()
		case "u":
			number = r.uint32()
		default:
			return fmt.Errorf("%w: a field of the type %q", errForm, kind)
		}
		if r.broken {
			break
		}
		switch code[0] {
		case fieldErrorName:
			a.errorName = text
		case fieldReplySerial:
			a.replySerial = number
		case fieldSignature:
			a.signature = text
		}
	}
	if r.broken {
		return errForm
	}
	return nil
}

// text is the string that an answer begins with, or nothing.
func (a Answer) text() string {
	if a.signature == "" || a.signature[0] != 's' {
		return ""
	}
	return a.body.string()
}

// Bool is the answer of a method that says true or false.
func (a Answer) Bool() (bool, error) {
	n := a.body.uint32()
	if a.signature != "b" || a.body.broken {
		return false, fmt.Errorf("%w: it is to say true or false, and is of the type %q", errForm, a.signature)
	}
	return n == 1, nil
}

// Strings is the answer of a method that gives a list of strings.
func (a Answer) Strings() (list []string, err error) {
	end := int(a.body.uint32())
	end += a.body.at
	for a.signature == "as" && a.body.at < end && !a.body.broken {
		list = append(list, a.body.string())
	}
	if a.signature != "as" || a.body.broken {
		return nil, fmt.Errorf("%w: it is to be a list of strings, and is of the type %q", errForm, a.signature)
	}
	return list, nil
}
