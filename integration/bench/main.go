// Command bench measures the plugins of two folders side by side: the same calls by libcni, in turn, each folder on a node
// of its own. It prints a table, writes it with a plot of the medians, and its exit code is 1 where a goal was missed.
//
// A call is timed from libcni's call to its return. Times on one machine say little about another; their ratio says
// more, and goals are ratios within one run.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"time"

	"github.com/catena-cni/catena/integration/node"
	"github.com/catena-cni/catena/internal/kerneltest"
)

func main() {
	o, err := parse()
	missed := 0
	if err == nil {
		missed, err = o.run()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(2)
	}
	if missed > 0 {
		fmt.Fprintf(os.Stderr, "%d goals were missed\n", missed)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	ours, theirs string // folders of plugins
	names        *regexp.Regexp
	conf         string
	rounds       float64
	out          string
	counts       bool
}

// run measures what is asked for, prints and writes the report, and gives the number of goals that were missed.
func (o options) run() (missed int, err error) {
	// What this program leaves on its heap is not to be collected while a plugin is timed: rounds do that between calls.
	debug.SetGCPercent(-1)

	report, err := o.measure()
	if len(report.rows) > 0 {
		fmt.Print(report.table()) // of the cases before the one that could not be measured, too
	}
	if err == nil && o.out != "" {
		err = report.write(o.out)
	}
	return report.missed(), err
}

// measure tells on standard error where it is.
func (o options) measure() (r report, err error) {
	scenarios, err := chosen(o)
	if err == nil && o.counts && slices.ContainsFunc(scenarios, func(s scenario) bool { return s.counts }) {
		err = canCount()
	}
	if err != nil {
		return r, err
	}
	r.about = about(o)
	o, remove, err := o.install()
	if remove != nil {
		defer remove()
	}
	if err != nil {
		return r, err
	}
	for i, s := range scenarios {
		began := time.Now()
		fmt.Fprintf(os.Stderr, "%d of %d: %s", i+1, len(scenarios), s.name)
		rows, err := s.measure(o)
		if err == nil && s.counts && o.counts {
			var counts []counted
			counts, err = s.count(o)
			r.counts = append(r.counts, counts...)
		}
		fmt.Fprintf(os.Stderr, " (%.0f s)\n", time.Since(began).Seconds())
		if err != nil {
			return r, fmt.Errorf("%s: %w", s.name, err)
		}
		r.rows = append(r.rows, rows...)
	}
	return r, nil
}

const usage = `usage: bench [FLAGS]

Runs the plugins of two folders in turn, on nodes of their own, and prints how long each call takes. Needs root.
The exit code is 1 where a goal was missed, and 2 where something could not be measured.

`

func parse() (options, error) {
	root, err := node.Root()
	if err != nil {
		return options{}, err
	}
	var o options
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.StringVar(&o.ours, "ours", filepath.Join(root, "bin"), "the `folder` of our plugins")
	flag.StringVar(&o.theirs, "theirs", "", "the `folder` of the plugins to compare with (default: upstream's, built from the module in go.mod)")
	flag.StringVar(&o.conf, "conf", "", "a .conflist `file` to measure instead of the built-in cases")
	names := flag.String("case", "", "measure only the cases whose names this `expression` matches")
	flag.Float64Var(&o.rounds, "rounds", 1, "`times` as many rounds of each case, such as 0.5")
	flag.BoolVar(&o.counts, "counts", true, "count the chain's programs, messages, lists and fsyncs too, with strace")
	flag.StringVar(&o.out, "out", "", "a `folder` to write table.md and plot.svg to")
	flag.Parse()
	switch {
	case flag.NArg() > 0:
		return o, fmt.Errorf("what is %q? -help lists the flags", flag.Arg(0))
	case !(o.rounds > 0):
		return o, fmt.Errorf("-rounds is %v, and must be more than 0", o.rounds)
	case os.Geteuid() != 0:
		return o, fmt.Errorf("network namespaces need root: %w", os.ErrPermission)
	}
	if o.names, err = regexp.Compile(*names); err != nil {
		return o, fmt.Errorf("-case: %w", err)
	}
	if o.theirs == "" {
		o.theirs, err = upstream()
	}
	return o, err
}

// measured are the plugins that the built-in cases name.
var measured = []string{"bridge", "ptp", "macvlan", "ipvlan", "vlan", "dummy", "tap", "host-device", "loopback", "host-local", "portmap", "tuning"}

// upstream builds upstream's, and gives their folder.
func upstream() (folder string, err error) {
	for _, plugin := range measured {
		path, err := kerneltest.BuildUpstream(plugin)
		if err != nil {
			return "", fmt.Errorf("build upstream's %s: %w", plugin, err)
		}
		folder = filepath.Dir(path)
	}
	return folder, nil
}
