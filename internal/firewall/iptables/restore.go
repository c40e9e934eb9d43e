package iptables

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/catena-cni/catena/internal/cni"
	programs "github.com/catena-cni/catena/internal/program"
)

// lockWait bounds the wait for the lock that all users of the older iptables
// share, in seconds.
const lockWait = "30"

// batch is what one attachment puts into a table, in one run of
// iptables-restore: all of it comes true or nothing does.
type batch struct {
	six   bool
	table string
	// on are the shared parts that the rules stand on. The run fails where one is
	// missing; then they are put in place one by one, and it is tried again.
	on []part
	// fresh is a chain that is made, or emptied where it is there.
	fresh string
	rules []rule
}

// part is something that all attachments share.
type part struct {
	// chain is made where it is missing, unless it is empty or iptables' own.
	chain string
	// rule is put in where it is missing, unless it has no words.
	rule rule
	// first puts it before all others, else it goes behind them.
	first bool
}

// tries bounds how often the shared parts may be taken away by the last pod
// that leaves, between their being there and being stood on.
const tries = 3

// add runs the batch.
func (b batch) add() (err error) {
	for range tries {
		if err = b.run(b.lines()); err == nil || len(b.on) == 0 || errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, p := range b.on {
			if err := b.establish(p); err != nil {
				return err
			}
		}
	}
	return err
}

// lines asks for the shared parts and adds the rest.
func (b batch) lines() (lines []string) {
	for _, p := range b.on {
		if p.rule.words != nil {
			lines = append(lines, line(append([]string{"-C", p.rule.chain}, p.rule.words...)...))
		}
	}
	if b.fresh != "" {
		lines = append(lines, ":"+b.fresh+" - [0:0]")
	}
	for _, r := range b.rules {
		lines = append(lines, line(append([]string{"-A", r.chain}, r.words...)...))
	}
	return lines
}

// establish puts one shared part in place.
func (b batch) establish(p part) error {
	if p.chain != "" {
		_ = b.run([]string{line("-N", p.chain)}) // which fails where it is there
	}
	if p.rule.words == nil || b.run([]string{line(append([]string{"-C", p.rule.chain}, p.rule.words...)...)}) == nil {
		return nil
	}
	how := []string{"-A", p.rule.chain}
	if p.first {
		how = []string{"-I", p.rule.chain, "1"}
	}
	return b.run([]string{line(append(how, p.rule.words...)...)})
}

// check looks whether every rule is there, those of the shared parts too.
func (b batch) check() error {
	all := b.rules
	for _, p := range b.on {
		if p.rule.words != nil {
			all = append(all, p.rule)
		}
	}
	var lines []string
	for _, r := range all {
		lines = append(lines, line(append([]string{"-C", r.chain}, r.words...)...))
	}
	if b.run(lines) == nil {
		return nil
	}
	var errs []error
	for i, l := range lines {
		err := b.run(lines[i : i+1])
		if errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s table %s has no rule %s", program(b.six, ""), b.table, strings.TrimPrefix(l, "-C ")))
		}
	}
	return errors.Join(errs...)
}

// checkEach is check for those families that have rules.
func checkEach(of func(six bool) batch) error {
	var errs []error
	for _, six := range families {
		if b := of(six); len(b.rules) > 0 {
			errs = append(errs, b.check())
		}
	}
	return errors.Join(errs...)
}

func (b batch) run(lines []string) error {
	return restore(program(b.six, "-restore"), b.table, lines)
}

// restore runs lines in a table as one transaction.
func restore(name, table string, lines []string) error {
	_, err := execute(name, "*"+table+"\n"+strings.Join(lines, "\n")+"\nCOMMIT\n", "--noflush", "-w", lockWait)
	return err
}

// execute runs a program of iptables. One that is not installed is
// os.ErrNotExist.
func execute(name, stdin string, args ...string) (string, error) {
	path, found := programs.Look(name, os.Getenv("PATH"))
	if !found {
		return "", uninstalled(name)
	}
	out, err := programs.Call{Path: path, Args: args, Env: []string{"PATH=" + os.Getenv("PATH")}, Both: true}.Run([]byte(stdin))
	if ended := programs.Ended(""); errors.As(err, &ended) {
		return "", fmt.Errorf("%s: %s", name, complaint(string(out), err))
	}
	return string(out), err
}

func uninstalled(name string) error {
	err := cni.Errorf(cni.CodeMissing, "the iptables backend needs the program %s, and PATH has none: %w", name, fs.ErrNotExist)
	return cni.Hint(err, "install the package iptables (Debian and Ubuntu: apt-get install iptables), or use the backend nftables, which needs no program")
}

// complaint is what a program said, in one line.
func complaint(printed string, ended error) string {
	var said []string
	for l := range strings.Lines(printed) {
		l = strings.TrimSpace(l)
		if l != "" && !strings.HasPrefix(l, "Try `") && !strings.HasPrefix(l, "# ") {
			said = append(said, l)
		}
	}
	if said == nil {
		return ended.Error()
	}
	return strings.Join(said, "; ")
}

// Ready looks whether the programs are there that the facts need.
func Ready() error {
	for _, six := range families {
		if _, found := programs.Look(program(six, "-restore"), os.Getenv("PATH")); !found {
			return uninstalled(program(six, "-restore"))
		}
	}
	return nil
}
