package nft

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/lists"
)

// condition is one comparison that a packet must pass: of what load brings into
// the first register with a value, a range or several of them.
type condition struct {
	load  []wire.Expr
	of    wire.Datatype
	mask  []byte // what is looked at of the value, nil for all of it
	not   bool
	spans []wire.Span
	// flags says that the value is a set of bits of which one must be there.
	flags bool
}

// compile makes one rule of conditions. The numbers of its anonymous sets begin
// at id.
func compile(conditions []condition, id uint32) (r wire.Rule) {
	for _, c := range conditions {
		r.Exprs = append(r.Exprs, c.load...)
		if c.mask != nil {
			r.Exprs = append(r.Exprs, wire.Bitwise(wire.Reg(0), c.mask, make([]byte, len(c.mask))))
		}
		if len(c.spans) == 1 {
			r.Exprs = append(r.Exprs, c.compare(c.spans[0])...)
			continue
		}
		look := wire.LookupAnonymous(id, wire.Reg(0))
		if c.not {
			look = wire.LookupAnonymous(id, wire.Reg(0), wire.U32(unix.NFTA_LOOKUP_FLAGS, unix.NFT_LOOKUP_F_INV))
		}
		r.Exprs = append(r.Exprs, look)
		r.Anonymous = append(r.Anonymous, wire.Anonymous{ID: id, Of: c.of, Spans: joined(c.spans)})
		id++
	}
	return r
}

func (c condition) compare(s wire.Span) []wire.Expr {
	op := uint32(unix.NFT_CMP_EQ)
	if c.not != c.flags { // one of several bits is there where not all are 0
		op = unix.NFT_CMP_NEQ
	}
	if bits, ok := prefix(s); ok && !s.Single() && bits > 0 {
		mask := make([]byte, len(s.First))
		for i := range bits {
			mask[i/8] |= 0x80 >> (i % 8)
		}
		return wire.One(wire.Bitwise(wire.Reg(0), mask, make([]byte, len(mask))), wire.Compare(op, wire.Reg(0), s.First))
	}
	if s.Single() {
		return wire.One(wire.Compare(op, wire.Reg(0), s.First))
	}
	return wire.One(wire.InRange(op, wire.Reg(0), s.First, s.Last))
}

// prefix tells the ranges that are all values with the same first bits.
func prefix(s wire.Span) (bits int, ok bool) {
	if len(s.First) < 4 {
		return 0, false // ports are written as ranges
	}
	for i := range len(s.First) * 8 {
		mask := byte(0x80 >> (i % 8))
		a, b := s.First[i/8]&mask, s.Last[i/8]&mask
		if ok && (a != 0 || b == 0) {
			return 0, false
		}
		if !ok && a == b {
			bits++
			continue
		}
		ok = ok || a == 0
		if !ok {
			return 0, false
		}
	}
	return bits, true
}

// joined are ranges in order, those that overlap or touch made one.
func joined(spans []wire.Span) (out []wire.Span) {
	single := !slices.ContainsFunc(spans, func(s wire.Span) bool { return !s.Single() })
	var ordered []*wire.Span
	for _, s := range spans {
		ordered = append(ordered, &s)
	}
	lists.Sort(ordered, func(a, b *wire.Span) int { return bytes.Compare(a.First, b.First) })
	for _, s := range ordered {
		if n := len(out) - 1; n >= 0 {
			after, more := wire.Next(out[n].Last)
			if bytes.Compare(s.First, out[n].Last) <= 0 || !single && more && bytes.Equal(s.First, after) {
				if bytes.Compare(s.Last, out[n].Last) > 0 {
					out[n].Last = s.Last
				}
				continue
			}
		}
		out = append(out, *s)
	}
	return out
}

// parseConditions reads conditions in the words of the nft program or, where
// the first begins with '-' or is "!", of iptables.
func parseConditions(words []string, six bool) ([]condition, error) {
	text := strings.Join(words, " ")
	w := &reader{family: "ip", six: six}
	if six {
		w.family = "ip6"
	}
	if len(words) > 0 && !OwnWords(words) {
		w.words = strings.Fields(text)
		return w.iptables()
	}
	w.words = strings.Fields(strings.NewReplacer("{", " { ", "}", " } ", ",", " , ").Replace(text))
	return w.nft()
}

// OwnWords reports whether conditions are in the words of the nft program, which
// iptables does not understand.
func OwnWords(words []string) bool {
	return len(words) > 0 && !strings.HasPrefix(words[0], "-") && !strings.HasPrefix(words[0], "!")
}

// IptablesWords reports whether conditions have a match that iptables alone
// understands.
func IptablesWords(words []string, six bool) bool {
	_, err := parseConditions(words, six)
	return errors.Is(err, errMatch)
}

// errMatch is the class of errors about matches of iptables that have no like
// here. What is wrong with the value of one that has is another error.
var errMatch = errors.New("a match of iptables")

type unknownMatch struct{ error }

func (unknownMatch) Is(class error) bool { return class == errMatch }

// reader goes through the words of conditions.
type reader struct {
	words  []string
	family string // ip or ip6
	six    bool
	proto  bool // iptables: -p came before
}

// next takes a word, "" at the end.
func (w *reader) next() string {
	if len(w.words) == 0 {
		return ""
	}
	word := w.words[0]
	w.words = w.words[1:]
	return word
}

// take takes the next word if it is one of those.
func (w *reader) take(words ...string) bool {
	if len(w.words) == 0 || !slices.Contains(words, w.words[0]) {
		return false
	}
	w.words = w.words[1:]
	return true
}

// unknown is an error about a word.
func unknown(word, understood string) error {
	if word == "" {
		return fmt.Errorf("it ends where %s is wanted", understood)
	}
	return fmt.Errorf("%q is not understood: %s is", word, understood)
}

// Several values of one kind.
func (c condition) with(parse func(string) (wire.Span, error), values ...string) (condition, error) {
	for _, v := range values {
		s, err := parse(v)
		if err != nil {
			return c, err
		}
		c.spans = append(c.spans, s)
	}
	if len(c.spans) == 0 {
		return c, fmt.Errorf("a value is missing")
	}
	return c, nil
}
