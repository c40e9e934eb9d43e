package nft

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/lists"
)

// condition is one comparison that a packet must pass: of what load brings into
// the first register with a value, a range or several of them.
type condition struct {
	load  []expr
	of    datatype
	mask  []byte // what is looked at of the value, nil for all of it
	not   bool
	spans []span
	// flags says that the value is a set of bits of which one must be there.
	flags bool
}

// compile makes one rule of conditions. The numbers of its anonymous sets begin
// at id.
func compile(conditions []condition, id uint32) (r rule) {
	for _, c := range conditions {
		r.exprs = append(r.exprs, c.load...)
		if c.mask != nil {
			r.exprs = append(r.exprs, bitwise(reg(0), c.of.size, c.mask, make([]byte, len(c.mask))))
		}
		if len(c.spans) == 1 {
			r.exprs = append(r.exprs, c.compare(c.spans[0])...)
			continue
		}
		look := lookupAnonymous(id, reg(0))
		if c.not {
			look = lookupAnonymous(id, reg(0), u32Attr(unix.NFTA_LOOKUP_FLAGS, unix.NFT_LOOKUP_F_INV))
		}
		r.exprs = append(r.exprs, look)
		r.anon = append(r.anon, anonymous{id, c.of, joined(c.spans)})
		id++
	}
	return r
}

func (c condition) compare(s span) []expr {
	op := uint32(unix.NFT_CMP_EQ)
	if c.not != c.flags { // one of several bits is there where not all are 0
		op = unix.NFT_CMP_NEQ
	}
	if bits, ok := prefix(s); ok && !s.single() && bits > 0 {
		mask := make([]byte, len(s.first))
		for i := range bits {
			mask[i/8] |= 0x80 >> (i % 8)
		}
		return one(bitwise(reg(0), uint32(len(mask)), mask, make([]byte, len(mask))), cmp(op, reg(0), s.first))
	}
	if s.single() {
		return one(cmp(op, reg(0), s.first))
	}
	return one(inRange(op, reg(0), s.first, s.last))
}

// prefix tells the ranges that are all values with the same first bits.
func prefix(s span) (bits int, ok bool) {
	if len(s.first) < 4 {
		return 0, false // ports are written as ranges
	}
	for i := range len(s.first) * 8 {
		mask := byte(0x80 >> (i % 8))
		a, b := s.first[i/8]&mask, s.last[i/8]&mask
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
func joined(spans []span) (out []span) {
	single := !slices.ContainsFunc(spans, func(s span) bool { return !s.single() })
	var ordered []*span
	for _, s := range spans {
		ordered = append(ordered, &s)
	}
	lists.Sort(ordered, func(a, b *span) int { return bytes.Compare(a.first, b.first) })
	for _, s := range ordered {
		if n := len(out) - 1; n >= 0 {
			after, more := next(out[n].last)
			if bytes.Compare(s.first, out[n].last) <= 0 || !single && more && bytes.Equal(s.first, after) {
				if bytes.Compare(s.last, out[n].last) > 0 {
					out[n].last = s.last
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
func (c condition) with(parse func(string) (span, error), values ...string) (condition, error) {
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
