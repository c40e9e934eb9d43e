// Package iptables is the facts of the explicit iptables backends: upstream's
// chains, rules and comments, so that either suite's DEL finds what the other
// has made.
//
// Rules are put in by iptables-restore, all of an attachment's in one run, which
// coreos/go-iptables cannot: it starts a program for every rule and chain, and is
// a tenth of a plugin's size. They are found and taken out by name: those of the
// newer iptables, which are nftables', over netlink and without a program; those
// of the older one by its programs, once the kernel has said that there is
// something to take out. So Del costs next to nothing where iptables is not used,
// and cleans up where it once was.
package iptables

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/catena-cni/catena/internal/state/name"
)

// Names that upstream's plugins have given once and for all.
const (
	prefixMasquerade = "CNI-"
	prefixPorts      = "CNI-DN-"
	prefixOldSNAT    = "CNI-SN-"

	chainPorts   = "CNI-HOSTPORT-DNAT"
	chainSetMark = "CNI-HOSTPORT-SETMARK"
	chainMasq    = "CNI-HOSTPORT-MASQ"
	chainOldSNAT = "CNI-HOSTPORT-SNAT"
)

// commentMax is what iptables takes as a comment (XT_MAX_COMMENT_LEN less its
// final zero byte).
const commentMax = 255

// label is the text by which rules name their attachment, and that all of a
// network's begin with.
func label(at name.Attachment) string {
	return labelOf(at.Network) + fmt.Sprintf(" id: %q", at.ContainerID)
}

func labelOf(network string) string { return fmt.Sprintf("name: %q", network) }

// families are IPv4 and IPv6.
var families = []bool{false, true}

// program is the name of a program of iptables for a family.
func program(six bool, name string) string {
	if six {
		return "ip6tables" + name
	}
	return "iptables" + name
}

// rule is a rule in a chain, in iptables' words.
type rule struct {
	chain string
	words []string
}

func in(chain string, words ...string) rule { return rule{chain, words} }

func commented(text string) []string {
	if len(text) > commentMax {
		text = text[:commentMax-2] + "..." // which makes it upstream's 256
	}
	return []string{"-m", "comment", "--comment", text}
}

// line is a command of iptables-restore.
func line(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return strings.Join(quoted, " ")
}

// quote writes a word so that iptables-restore reads it as one. What it has no
// words for, such as the end of a line, becomes a blank: validation refuses it
// before.
func quote(word string) string {
	word = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, word)
	if word != "" && !strings.ContainsAny(word, " \"'\\#") {
		return word
	}
	return `"` + strings.ReplaceAll(strings.ReplaceAll(word, `\`, `\\`), `"`, `\"`) + `"`
}

// unquote splits a line as iptables-save writes it.
func unquote(line string) (words []string) {
	var word strings.Builder
	started, quoted, escaped := false, false, false
	for _, c := range line {
		switch {
		case escaped:
			word.WriteRune(c)
			escaped = false
		case c == '\\':
			escaped = true
		case c == '"':
			quoted, started = !quoted, true
		case c == ' ' && !quoted:
			if started {
				words = append(words, word.String())
			}
			word.Reset()
			started = false
		default:
			word.WriteRune(c)
			started = true
		}
	}
	if started {
		words = append(words, word.String())
	}
	return words
}
