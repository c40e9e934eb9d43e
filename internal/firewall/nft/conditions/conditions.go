// Package conditions makes a rule of what packets must match besides, which
// portmap takes in the words of the nft program or of iptables.
package conditions

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
)

// Parse makes a rule's expressions of conditions for one IP family. The numbers
// of the rule's anonymous sets begin at id.
func Parse(words []string, six bool, id uint32) (rule wire.Rule, err error) {
	r := &reader{fields: fields(six), id: id}
	text := strings.Join(words, " ")
	if NftWords(words) {
		r.words = strings.Fields(strings.NewReplacer("{", " { ", "}", " } ", ",", " , ").Replace(text))
	} else if r.words, err = translate(strings.Fields(text), r.fields); err != nil {
		return rule, err
	}
	for len(r.words) > 0 {
		if err := r.match(); err != nil {
			return rule, err
		}
	}
	return r.rule, nil
}

// NftWords reports whether conditions are in the words of the nft program: those
// of iptables begin with an option, or with "!".
func NftWords(words []string) bool {
	return len(words) > 0 && !strings.HasPrefix(words[0], "-") && !strings.HasPrefix(words[0], "!")
}

// IptablesOnly reports whether conditions are in the words of iptables and have a
// match that it alone has.
func IptablesOnly(words []string, six bool) bool {
	_, err := Parse(words, six, 0)
	return !NftWords(words) && errors.As(err, new(errNoLike))
}

// errNoLike is about a match of iptables that has no like here. What is wrong
// with the value of one that has is another error.
type errNoLike struct{ error }

// unknown is an error about a word.
func unknown(word, understood string) error {
	if word == "" {
		return fmt.Errorf("it ends where %s is wanted", understood)
	}
	return fmt.Errorf("%q is not understood: %s is", word, understood)
}

// reader goes through words of nft, and has the rule that they are made into.
type reader struct {
	words  []string
	fields []field
	rule   wire.Rule
	id     uint32
}

// next takes a word, "" at the end.
func (r *reader) next() (word string) {
	if len(r.words) > 0 {
		word, r.words = r.words[0], r.words[1:]
	}
	return word
}

// take takes the next word if it is one of those.
func (r *reader) take(words ...string) bool {
	if len(r.words) == 0 || !slices.Contains(words, r.words[0]) {
		return false
	}
	r.words = r.words[1:]
	return true
}

func (r *reader) add(e ...wire.Expr) { r.rule.Exprs = append(r.rule.Exprs, e...) }

// match reads one comparison: what of a packet is to be one of some values.
func (r *reader) match() error {
	f, err := r.field()
	if err != nil {
		return err
	}
	r.add(f.load...)
	if f.of == wire.MarkType && r.take("&", "and") {
		mask, err := f.value(r.next())
		if err != nil {
			return err
		}
		r.add(wire.Mask(wire.Reg(0), mask.First))
	}
	op, flags := uint32(unix.NFT_CMP_EQ), uint32(0)
	if r.take("!=", "ne") {
		op, flags = unix.NFT_CMP_NEQ, unix.NFT_LOOKUP_F_INV
	} else {
		r.take("==", "eq")
	}
	values, err := r.values(f)
	if err != nil {
		return err
	}
	switch first := values[0]; {
	case len(values) > 1:
		r.rule.Anonymous = append(r.rule.Anonymous, wire.Anonymous{ID: r.id, Of: f.of, Spans: joined(values)})
		r.add(wire.LookupAnonymous(r.id, wire.Reg(0), wire.U32(unix.NFTA_LOOKUP_FLAGS, flags)))
		r.id++
	case first.Single():
		r.add(wire.Compare(op, wire.Reg(0), first.First))
	case first.mask != nil:
		r.add(wire.Mask(wire.Reg(0), first.mask), wire.Compare(op, wire.Reg(0), first.First))
	default:
		r.add(wire.InRange(op, wire.Reg(0), first.First, first.Last))
	}
	return nil
}

// field reads what a comparison is about: a word, or two that belong together.
func (r *reader) field() (field, error) {
	before, word := "", r.next()
	if len(r.wordsAfter(word+" ")) > 0 {
		before, word = word+" ", r.next()
	}
	i := slices.IndexFunc(r.fields, func(f field) bool { return slices.Contains(strings.Split(f.nft, ", "), before+word) })
	family, _, _ := strings.Cut(r.fields[0].nft, " ")
	switch {
	case i < 0 && before != "":
		return field{}, unknown(word, strings.Join(r.wordsAfter(before), ", ")+" after "+strings.TrimSpace(before))
	case i < 0 && (word == "ip" || word == "ip6"):
		return field{}, fmt.Errorf("%s does not match what these conditions are for: %s does", word, family)
	case i < 0:
		return field{}, unknown(word, strings.Join(r.wordsAfter(""), ", "))
	}
	if number, ok := protocols[strings.TrimSpace(before)]; ok {
		r.add(append(meta(unix.NFT_META_L4PROTO), wire.Compare(unix.NFT_CMP_EQ, wire.Reg(0), []byte{number}))...)
	}
	return r.fields[i], nil
}

// wordsAfter are the words that a field's may have behind a text, each once.
func (r *reader) wordsAfter(text string) (out []string) {
	for _, f := range r.fields {
		for _, words := range strings.Split(f.nft, ", ") {
			rest, ok := strings.CutPrefix(words, text)
			word, _, _ := strings.Cut(rest, " ")
			if ok && !slices.Contains(out, word) {
				out = append(out, word)
			}
		}
	}
	return out
}

// values reads one value, or several with commas between.
func (r *reader) values(f field) (out []value, err error) {
	braces := r.take("{")
	for more := true; more; more = r.take(",") && !(braces && len(r.words) > 0 && r.words[0] == "}") {
		text := r.next()
		if text == "{" || text == "," || text == "}" {
			return nil, unknown(text, "a value")
		}
		v, err := f.value(text)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	if braces && !r.take("}") {
		return nil, unknown(r.next(), "',' or '}' between values")
	}
	if len(out) > 1 && slices.ContainsFunc(out, func(v value) bool { return len(v.First) < int(f.of.Size) }) {
		return nil, errors.New("a name with a wildcard cannot be one of several")
	}
	return out, nil
}

func (f field) value(text string) (value, error) {
	v, ok := f.parse(text)
	switch {
	case ok:
		return v, nil
	case f.of == wire.CtState: // iptables knows those of NAT too
		return v, errNoLike{unknown(text, f.values)}
	}
	return v, unknown(text, f.values)
}

// joined are ranges in order, those that overlap made one: the kernel refuses a
// set with any.
func joined(values []value) (out []wire.Span) {
	slices.SortFunc(values, func(a, b value) int { return bytes.Compare(a.First, b.First) })
	for _, v := range values {
		n := len(out) - 1
		switch {
		case n < 0 || bytes.Compare(v.First, out[n].Last) > 0:
			out = append(out, v.Span)
		case bytes.Compare(v.Last, out[n].Last) > 0:
			out[n].Last = v.Last
		}
	}
	return out
}
