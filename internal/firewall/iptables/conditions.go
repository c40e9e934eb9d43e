package iptables

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// short are the options of one letter that say what a packet must match. All
// others say what is to be done with the rule.
var short = []string{"-s", "-d", "-i", "-o", "-p", "-m", "-f"}

// CheckConditions holds conditions against what may stand in a rule: matches,
// and nothing that would make the rule another one or have a program executed.
// What the matches mean is iptables' business.
func CheckConditions(words []string) error {
	for i, w := range words {
		switch {
		case strings.ContainsFunc(w, unicode.IsControl):
			return fmt.Errorf("%q has characters that cannot be printed", w)
		case i == 0 && w != "!" && !strings.HasPrefix(w, "-"):
			return fmt.Errorf("%q begins no condition of iptables, as -s or ! does: conditions in the words of nft are for the backend nftables", w)
		case strings.HasPrefix(w, "--") && command(w):
			return fmt.Errorf("%q is no condition but says what to do", w)
		case strings.HasPrefix(w, "-") && !strings.HasPrefix(w, "--") && !slices.Contains(short, w) && !number(w):
			return fmt.Errorf("%q is no condition: those of one letter are %s", w, strings.Join(short, ", "))
		}
	}
	return nil
}

// command tells the long options of iptables itself that are no matches. It takes
// their beginnings for the whole, as getopt_long(3) does, but for those that are
// the names of matches too.
func command(word string) bool {
	word, _, _ = strings.Cut(word, "=")
	return !slices.Contains(matches, word) && slices.ContainsFunc(commands, func(option string) bool { return strings.HasPrefix(option, word) })
}

var commands = []string{
	"--append", "--check", "--delete", "--delete-chain", "--exact", "--flush", "--goto", "--help", "--insert", "--jump",
	"--line-numbers", "--list", "--list-rules", "--modprobe", "--new-chain", "--numeric", "--policy", "--rename-chain",
	"--replace", "--set-counters", "--table", "--verbose", "--version", "--wait", "--wait-interval", "--zero",
}

// matches are those of the matches' own options that a command begins with too.
var matches = []string{"--set"} // of recent

// number tells a negative number, as of a mark or an offset, from an option.
func number(word string) bool {
	return strings.Trim(word, "-0123456789") == "" && len(word) > 1
}

// CheckChain holds the name of a chain of somebody else's against what iptables
// takes.
func CheckChain(chain string) error {
	bad := strings.ContainsFunc(chain, func(c rune) bool { return !unicode.IsPrint(c) || unicode.IsSpace(c) || c == '"' || c == '\'' })
	switch {
	case chain == "" || len(chain) > chainMax || bad:
		return fmt.Errorf("%q is no name of a chain: those have 1 to %d characters without blanks and quotes", chain, chainMax)
	case strings.HasPrefix(chain, "-") || strings.HasPrefix(chain, "!"):
		return fmt.Errorf("%q is no name of a chain: those begin with neither '-' nor '!'", chain)
	case slices.Contains(builtin, chain):
		return fmt.Errorf("%s is a chain or a target of iptables' own", chain)
	}
	return nil
}

// chainMax is the longest name of a chain (XT_EXTENSION_MAXNAMELEN less its
// final zero byte).
const chainMax = 28

var builtin = []string{
	"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING", "ACCEPT", "DROP", "QUEUE", "RETURN",
	"DNAT", "SNAT", "MASQUERADE", "MARK", "REJECT", "REDIRECT", "LOG",
}
