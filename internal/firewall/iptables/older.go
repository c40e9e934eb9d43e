package iptables

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"github.com/catena-cni/catena/internal/firewall/xtables"
)

// older are the tables of the older iptables in one family.
type older struct{ six bool }

// contains looks for a text in a table as the kernel has it: a chain's name, or
// a comment, ends or goes on there as it does here. No program is needed.
func (o older) contains(table, text string) (bool, error) {
	if !xtables.Present(o.six, table) {
		return false, nil
	}
	image, err := xtables.Read(o.six, table)
	if err != nil {
		return false, fmt.Errorf("%s: %w", program(o.six, "-legacy"), err)
	}
	return bytes.Contains(image.Entries, []byte(text)), nil
}

func (o older) has(table, chain string) (bool, error) { return o.contains(table, chain+"\x00") }

// tool is a program of the older iptables. Where it is the only one, it has no
// name of its own.
func (o older) tool(suffix, stdin string, args ...string) (string, error) {
	out, err := execute(program(o.six, "-legacy"+suffix), stdin, args...)
	if errors.Is(err, fs.ErrNotExist) {
		out, err = execute(program(o.six, suffix), stdin, args...)
	}
	return out, err
}

func (o older) change(table string, look func(view) (edits, error)) error {
	saved, err := o.tool("-save", "", "-t", table)
	if err != nil {
		return err
	}
	v := saving{}
	for l := range strings.Lines(saved) {
		words := unquote(strings.TrimSpace(l))
		switch {
		case len(words) > 1 && words[0] == "-A":
			v[words[1]] = append(v[words[1]], written(words))
		case strings.HasPrefix(l, ":"):
			v[words[0][1:]] = nil
		}
	}
	e, err := look(v)
	if err != nil {
		return err
	}
	var lines []string
	for _, r := range e.rules {
		lines = append(lines, line(append([]string{"-D"}, r.found.(written)[1:]...)...))
	}
	for _, chain := range e.chains {
		lines = append(lines, line("-F", chain), line("-X", chain))
	}
	if lines == nil {
		return nil
	}
	_, err = o.tool("-restore", "*"+table+"\n"+strings.Join(lines, "\n")+"\nCOMMIT\n", "--noflush", "-w", lockWait)
	return err
}

// saving is a table as iptables-save has written it.
type saving map[string][]found

func (s saving) has(chain string) (bool, error)      { _, ok := s[chain]; return ok, nil }
func (s saving) rules(chain string) ([]found, error) { return s[chain], nil }

// written is the words of a rule, from -A on.
type written []string

func (w written) after(options ...string) string {
	for i, word := range w[:len(w)-1] {
		if slices.Contains(options, word) {
			return w[i+1]
		}
	}
	return ""
}

func (w written) jump() string    { return w.after("-j", "-g") }
func (w written) comment() string { return w.after("--comment") }

func (w written) address(a netip.Addr) bool {
	return slices.Contains(w, netip.PrefixFrom(a, a.BitLen()).String())
}

func (w written) link(name string) bool { return slices.Contains(w, name) }
