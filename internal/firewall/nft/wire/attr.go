package wire

import (
	"encoding/binary"
	"iter"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
)

// Attr is one netlink attribute, encoded.
type Attr []byte

// Bytes is an attribute with any content.
func Bytes(kind uint16, data []byte) Attr { return nl.NewRtAttr(int(kind), data).Serialize() }

// String is an attribute with a text that ends in a zero byte.
func String(kind uint16, s string) Attr { return Bytes(kind, nl.ZeroTerminated(s)) }

// U32 is an attribute with a number. Those of nf_tables are in network byte
// order.
func U32(kind uint16, n uint32) Attr { return Bytes(kind, binary.BigEndian.AppendUint32(nil, n)) }

// U64 is the same for larger numbers, such as handles.
func U64(kind uint16, n uint64) Attr { return Bytes(kind, binary.BigEndian.AppendUint64(nil, n)) }

// Nest is an attribute that holds others.
func Nest(kind uint16, inner ...Attr) Attr {
	return Bytes(kind|unix.NLA_F_NESTED, slices.Concat(inner...))
}

// Attrs walks the attributes in b: their kinds and contents. Those behind a torn
// one are left out.
func Attrs(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		all, _ := kernel.Attrs(b)
		for _, a := range all {
			if !yield(a.Attr.Type&nl.NLA_TYPE_MASK, a.Value) {
				return
			}
		}
	}
}

// Find gives the content of the attribute that kinds lead to, each inside the one
// before it. It is nil where there is none.
func Find(b []byte, kinds ...uint16) []byte {
	for _, kind := range kinds {
		var inner []byte
		for k, data := range Attrs(b) {
			if k == kind {
				inner = data
				break
			}
		}
		b = inner
	}
	return b
}

// Text reads a text that may end in a zero byte.
func Text(b []byte) string { return unix.ByteSliceToString(b) }

// Uint32 reads a number in network byte order, 0 from what has another size.
func Uint32(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// Comment is a comment as the nft program stores it: type, length, text, zero.
func Comment(text string) []byte {
	if text == "" {
		return nil
	}
	return append(append([]byte{0, byte(len(text) + 1)}, text...), 0)
}

// ReadComment is the text that Comment was given.
func ReadComment(b []byte) string {
	if len(b) <= 2 || b[0] != 0 || int(b[1]) > len(b)-2 {
		return ""
	}
	return Text(b[2 : 2+int(b[1])])
}
