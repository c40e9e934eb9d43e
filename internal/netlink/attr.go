// Package netlink speaks netlink (RFC 3549, netlink(7)): attributes, messages,
// acknowledgements, dumps and events, for the kernel's families that the facts
// are about: rtnetlink, nf_tables and conntrack.
//
// It is small because a plugin starts for every pod and verb: the usual
// libraries carry every kind of link and route into each binary, and cannot say
// in one message what here must come true in one.
package netlink

import (
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"
)

// Attr is one attribute, encoded.
type Attr []byte

// Len and Serialize let it go into a request of vishvananda/netlink's.
func (a Attr) Len() int { return len(a) }

// Serialize gives the bytes.
func (a Attr) Serialize() []byte { return a }

// Bytes is an attribute with any content. Every other attribute is made by it:
// copied into each place that asks for one, it would make plugins larger by 40 kB.
//
//go:noinline
func Bytes(kind uint16, data []byte) Attr {
	a := make([]byte, 4, 4+len(data)+3)
	binary.NativeEndian.PutUint16(a, uint16(4+len(data)))
	binary.NativeEndian.PutUint16(a[2:], kind)
	a = append(a, data...)
	return append(a, make([]byte, -len(a)&3)...)
}

// String is an attribute with a text that ends in a zero byte.
func String(kind uint16, s string) Attr { return Bytes(kind, append([]byte(s), 0)) }

// U8 is an attribute with a byte.
func U8(kind uint16, n uint8) Attr { return Bytes(kind, []byte{n}) }

// U16 is an attribute with a number in the machine's byte order.
func U16(kind uint16, n uint16) Attr { return Bytes(kind, binary.NativeEndian.AppendUint16(nil, n)) }

// U32 is an attribute with a number in the machine's byte order.
func U32(kind uint16, n uint32) Attr { return Bytes(kind, binary.NativeEndian.AppendUint32(nil, n)) }

// BE16 is an attribute with a number in network byte order.
func BE16(kind uint16, n uint16) Attr { return Bytes(kind, binary.BigEndian.AppendUint16(nil, n)) }

// BE32 is an attribute with a number in network byte order.
func BE32(kind uint16, n uint32) Attr { return Bytes(kind, binary.BigEndian.AppendUint32(nil, n)) }

// Nest is an attribute that holds others.
func Nest(kind uint16, inner ...Attr) Attr {
	return Bytes(kind|unix.NLA_F_NESTED, Join(inner...))
}

// Join puts attributes behind one another.
//
//go:noinline
func Join(attrs ...Attr) []byte {
	var b []byte
	for _, a := range attrs {
		b = append(b, a...)
	}
	return b
}

// Attrs walks the attributes in b: their kinds and contents. A torn one ends
// the walk.
func Attrs(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= 4 {
			n := int(binary.NativeEndian.Uint16(b))
			if n < 4 || n > len(b) {
				return
			}
			kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(kind, b[4:n]) {
				return
			}
			b = b[min(len(b), (n+3)&^3):]
		}
	}
}

// Find gives the content of the first attribute of a kind, nil where none is.
func Find(b []byte, kind uint16) []byte {
	for k, data := range Attrs(b) {
		if k == kind {
			return data
		}
	}
	return nil
}

// Text reads a text that may end in a zero byte.
func Text(b []byte) string {
	if n := len(b); n > 0 && b[n-1] == 0 {
		b = b[:n-1]
	}
	return string(b)
}

// Uint32 reads a number in the machine's byte order, 0 from what is too short.
func Uint32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}
