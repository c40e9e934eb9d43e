package conditions

import (
	"errors"
	"slices"
	"strings"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
)

// modules are the matches of iptables whose options are understood.
var modules = []string{"tcp", "udp", "sctp", "multiport", "iprange", "mark", "conntrack", "state", "mac", "comment"}

// translate makes words of nft of words of iptables.
func translate(words []string, fields []field) (out []string, err error) {
	r := &reader{words: words}
	protocolKnown := false
	for len(r.words) > 0 {
		not := r.take("!")
		option, text := r.next(), r.next()
		if option == "--comment" {
			continue
		}
		if option == "-m" || option == "--match" {
			if not || !slices.Contains(modules, text) {
				return nil, errNoLike{unknown(text, "-m with "+strings.Join(modules, ", "))}
			}
			continue
		}
		i := slices.IndexFunc(fields, func(f field) bool { return slices.Contains(strings.Split(f.iptables, ", "), option) })
		if i < 0 {
			var options []string
			for _, f := range fields {
				first, _, _ := strings.Cut(f.iptables, ", ")
				options = append(options, first)
			}
			return nil, errNoLike{unknown(option, strings.Join(options, ", ")+" and -m for their modules")}
		}
		protocolKnown = protocolKnown || fields[i].of == wire.InetProto && !not
		if fields[i].of == wire.InetService && !protocolKnown {
			return nil, errors.New("a port needs -p tcp, udp or sctp before it")
		}
		words, err := fields[i].nftWords(not, text)
		if err != nil {
			return nil, err
		}
		out = append(out, words...)
	}
	return out, nil
}

// nftWords are those for an option. The values come between braces, where a word
// cannot be anything else.
func (f field) nftWords(not bool, text string) ([]string, error) {
	name, _, _ := strings.Cut(f.nft, ", ")
	out, values := strings.Fields(name), strings.Split(text, ",")
	switch mark, mask, masked := strings.Cut(text, "/"); {
	case f.of == wire.MarkType && masked:
		out, values = append(out, "&", mask), []string{mark}
	case f.of == wire.IfNameType && strings.Contains(text, "*"): // a wildcard of nft's
		return nil, unknown(text, f.values)
	case f.of == wire.IfNameType:
		name := strings.Trim(text, `"`)
		if begin, wild := strings.CutSuffix(name, "+"); wild {
			name = begin + "*"
		}
		values = []string{name}
	}
	if not {
		out = append(out, "!=")
	}
	out = append(out, "{", values[0])
	for _, v := range values[1:] {
		out = append(out, ",", v)
	}
	return append(out, "}"), nil
}
