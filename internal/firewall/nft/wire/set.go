package wire

import (
	"bytes"
	"slices"

	"golang.org/x/sys/unix"
)

// Datatype is a type of nftables: its number there, and its size in bytes.
type Datatype struct{ ID, Size uint32 }

// The numbers are TYPE_* of nftables' datatype.h.
var (
	IPv4Addr    = Datatype{7, 4}
	IPv6Addr    = Datatype{8, 16}
	EtherAddr   = Datatype{9, 6}
	InetProto   = Datatype{12, 1}
	InetService = Datatype{13, 2}
	MarkType    = Datatype{19, 4}
	CtState     = Datatype{26, 4}
	IfNameType  = Datatype{41, unix.IFNAMSIZ}
	VerdictType = Datatype{unix.NFT_DATA_VERDICT, 0}
)

// Set is a set or, where it has data, a map. More than one type is a
// concatenation.
type Set struct {
	Name      string
	Key, Data []Datatype

	flags uint32
}

// concatenated is the number and size of a concatenation: six bits for each
// part's number, and each part padded to whole registers.
func concatenated(parts []Datatype) (id, size uint32) {
	if len(parts) == 1 {
		return parts[0].ID, parts[0].Size
	}
	for _, p := range parts {
		id = id<<6 | p.ID
		size += (p.Size + 3) &^ 3
	}
	return id, size
}

// Fields joins the parts of a concatenation, each padded to whole registers.
func Fields(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
		out = append(out, make([]byte, -len(p)&3)...)
	}
	return out
}

// NewSet makes a set. Within a batch its number tells it from others.
func (t Table) NewSet(s Set, id uint32) Message {
	keyID, keySize := concatenated(s.Key)
	body := []Attr{
		String(unix.NFTA_SET_NAME, s.Name), U32(unix.NFTA_SET_KEY_TYPE, keyID), U32(unix.NFTA_SET_KEY_LEN, keySize), U32(unix.NFTA_SET_ID, id),
	}
	if s.Data != nil {
		s.flags |= unix.NFT_SET_MAP
		dataID, dataSize := concatenated(s.Data)
		body = append(body, U32(unix.NFTA_SET_DATA_TYPE, dataID), U32(unix.NFTA_SET_DATA_LEN, dataSize))
	}
	if len(s.Key) == 1 {
		body = append(body, s.Key[0].byteOrder()...)
	}
	return t.Message(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, append(body, U32(unix.NFTA_SET_FLAGS, s.flags))...)
}

// byteOrder tells the nft program how to print keys that are not in network
// order (NFTNL_UDATA_SET_KEYBYTEORDER, BYTEORDER_HOST_ENDIAN).
func (d Datatype) byteOrder() []Attr {
	if d != MarkType && d != CtState && d != IfNameType {
		return nil
	}
	return []Attr{Bytes(unix.NFTA_SET_USERDATA, append([]byte{0, 4}, Native(1)...))}
}

// Anonymous is a set without a name. Within a batch its number tells it from
// others.
type Anonymous struct {
	ID    uint32
	Of    Datatype
	Spans []Span
}

// Span is the values from the first to the last.
type Span struct{ First, Last []byte }

// Only is the span of one value.
func Only(value []byte) Span { return Span{value, value} }

// Single reports whether it is that.
func (s Span) Single() bool { return bytes.Equal(s.First, s.Last) }

const anonymousName = "__set%d"

func (t Table) newAnonymous(a Anonymous) []Message {
	flags := uint32(unix.NFT_SET_ANONYMOUS | unix.NFT_SET_CONSTANT)
	if a.ranges() {
		flags |= unix.NFT_SET_INTERVAL
	}
	return []Message{
		t.NewSet(Set{Name: anonymousName, Key: []Datatype{a.Of}, flags: flags}, a.ID),
		t.Message(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, String(unix.NFTA_SET_ELEM_LIST_SET, anonymousName),
			U32(unix.NFTA_SET_ELEM_LIST_SET_ID, a.ID), Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, a.elements()...)),
	}
}

func (a Anonymous) ranges() bool {
	return slices.ContainsFunc(a.Spans, func(s Span) bool { return !s.Single() })
}

// elements are the values or, in a set of ranges, the first of each range and
// what follows its last.
func (a Anonymous) elements() (out []Attr) {
	for _, s := range a.Spans {
		out = append(out, Element{Key: s.First}.encode(""))
		if end, ok := Next(s.Last); ok && a.ranges() {
			out = append(out, Nest(unix.NFTA_LIST_ELEM, Value(unix.NFTA_SET_ELEM_KEY, end), U32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)))
		}
	}
	return out
}

// Next is the number that follows, if there is one of that size.
func Next(n []byte) ([]byte, bool) {
	n = bytes.Clone(n)
	for i := len(n) - 1; i >= 0; i-- {
		if n[i]++; n[i] != 0 {
			return n, true
		}
	}
	return nil, false
}
