// Command proof looks by force for what the plugins leave behind or lose: it kills them, has their system calls fail, floods
// a node with pods, fights over namespaces and looks at the wire. It prints a table of what was tried and of what was
// wrong afterwards, and its exit code is 1 where anything was.
//
// Each part is a file of its own and goes over nodes of its own (integration/node); the machine's network and state are
// not touched.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/catena-cni/catena/integration/node"
)

// part is one way to use force.
type part struct {
	name, about string
	run         func(*proof) ([]row, error)
}

// parts are all there are, in the order of the table.
var parts = []part{
	{"killed", "each plugin is killed at each call that changes something; DEL, GC and ADD again follow", killed},
	{"failing", "each call of each plugin ends with an error; nothing is left", failing},
	{"fuzzed", "what the plugins read, of any content; needs no root", fuzzed},
	{"flooded", "many pods at the same time, half of them killed", flooded},
	{"fought", "pods that change their own namespaces in every way", fought},
	{"wire", "what arrives and what does not, seen on the wire", wire},
}

// row is a line of the table.
type row struct {
	what   string
	points int      // that were tried
	wrong  []string // what was left over, lost or refused, each a sentence
}

// proof is one run of the command.
type proof struct {
	plugins string // the folder of the built plugins
	points  int    // at most so many of a case, spread evenly; 0 is all
	names   []string
	cases   *regexp.Regexp // nil is all

	fuzztime time.Duration // for each fuzz target; 0 is its seeds alone
}

func main() {
	p, err := parse()
	wrong := 0
	if err == nil {
		wrong, err = p.run()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "proof: %v\n", err)
		os.Exit(2)
	}
	if wrong > 0 {
		os.Exit(1)
	}
}

const usage = `usage: proof [FLAGS]

Kills plugins, has their system calls fail and more, on nodes of its own, and prints a table of what was tried and what was
wrong afterwards. Needs root. The exit code is 1 where something was wrong, and 2 where something could not be tried.

`

func parse() (*proof, error) {
	root, err := node.Root()
	if err != nil {
		return nil, err
	}
	p := &proof{}
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
		fmt.Fprintln(flag.CommandLine.Output(), "\nparts:")
		for _, part := range parts {
			fmt.Fprintf(flag.CommandLine.Output(), "  %-8s %s\n", part.name, part.about)
		}
	}
	flag.StringVar(&p.plugins, "plugins", filepath.Join(root, "bin"), "the `folder` of the built plugins")
	flag.IntVar(&p.points, "points", 20, "try at most so `many` points of a case, spread evenly; 0 is all")
	flag.Func("case", "try only the cases whose names this `expression` matches", func(names string) (err error) {
		p.cases, err = regexp.Compile(names)
		return err
	})
	flag.DurationVar(&p.fuzztime, "fuzztime", 10*time.Second, "how `long` each fuzz target is tried; 0 tries its seeds alone")
	flag.Func("part", "try only the parts of these `names`, with commas; may come again", func(names string) error {
		for name := range strings.SplitSeq(names, ",") {
			if !slices.ContainsFunc(parts, func(p part) bool { return p.name == name }) {
				return fmt.Errorf("there is no part %q", name)
			}
			p.names = append(p.names, name)
		}
		return nil
	})
	flag.Parse()
	switch {
	case flag.NArg() > 0:
		return nil, fmt.Errorf("what is %q? -help lists the flags", flag.Arg(0))
	case os.Geteuid() != 0 && !slices.Equal(p.names, []string{"fuzzed"}):
		return nil, fmt.Errorf("network namespaces need root: %w", os.ErrPermission)
	}
	p.plugins, err = filepath.Abs(p.plugins)
	return p, err
}

// run prints each part's rows when it has ended, and all that was wrong at the end. It tells on standard error where it is.
func (p *proof) run() (wrong int, err error) {
	var said []string
	fmt.Print("| part | case | points | wrong |\n|---|---|---|---|\n")
	for _, part := range parts {
		if len(p.names) > 0 && !slices.Contains(p.names, part.name) {
			continue
		}
		began := time.Now()
		rows, err := part.run(p)
		for _, r := range rows {
			fmt.Printf("| %s | %s | %d | %d |\n", part.name, r.what, r.points, len(r.wrong))
			for _, sentence := range r.wrong {
				said = append(said, fmt.Sprintf("%s, %s: %s", part.name, r.what, sentence))
			}
		}
		fmt.Fprintf(os.Stderr, "%s took %.0f s\n", part.name, time.Since(began).Seconds())
		if err != nil {
			fmt.Println(strings.Join(said, "\n"))
			return len(said), fmt.Errorf("%s: %w", part.name, err)
		}
	}
	if len(said) > 0 {
		fmt.Printf("\n%s\n", strings.Join(said, "\n"))
	}
	return len(said), nil
}

// wants reports whether a case was asked for.
func (p *proof) wants(name string) bool { return p.cases == nil || p.cases.MatchString(name) }

// spread gives at most p.points of the numbers from 1 to n, evenly, the first and the last among them; a single one is in the middle.
func (p *proof) spread(n int) (all []int) {
	if p.points == 0 || n <= p.points {
		for i := range n {
			all = append(all, i+1)
		}
		return all
	}
	if p.points == 1 {
		return []int{(n + 1) / 2}
	}
	for i := range p.points {
		all = append(all, 1+i*(n-1)/(p.points-1))
	}
	return all
}

// together calls do for each number below n, as many at a time as there are processors. Each of the callers is a worker
// with a number below workers(), for what only one may use at a time.
func together(n int, do func(worker, i int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for worker := range workers() {
		wg.Go(func() {
			for i := range next {
				do(worker, i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

func workers() int { return runtime.NumCPU() }
