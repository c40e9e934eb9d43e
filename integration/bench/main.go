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

	"github.com/catena-cni/catena/integration/node"
	"github.com/catena-cni/catena/internal/kerneltest"
)

func main() {
	missed, err := run()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(2)
	}
	if missed > 0 {
		fmt.Printf("%d goals were missed.\n", missed)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	ours, theirs string // folders of plugins
	empty        string // a program
	names        *regexp.Regexp
	conf         string
	rounds       float64
	out          string
	counts       bool
}

func run() (missed int, err error) {
	o, err := parse()
	if err != nil {
		return 0, err
	}
	// What this program leaves on its heap is not to be collected while a plugin is timed: rounds do that between calls.
	debug.SetGCPercent(-1)

	scenarios, err := chosen(o)
	if err != nil {
		return 0, err
	}
	var report report
	for _, s := range scenarios {
		fmt.Fprintf(os.Stderr, "%s\n", s.name)
		rows, err := s.measure(o)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", s.name, err)
		}
		report.rows = append(report.rows, rows...)
	}
	if o.counts {
		if report.counts, err = count(o); err != nil {
			return 0, fmt.Errorf("count: %w", err)
		}
	}
	fmt.Print(report.table())
	if o.out != "" {
		err = report.write(o.out)
	}
	return report.missed(), err
}

func parse() (options, error) {
	root, err := node.Root()
	if err != nil {
		return options{}, err
	}
	var o options
	flag.StringVar(&o.ours, "ours", filepath.Join(root, "bin"), "the `folder` of our plugins")
	flag.StringVar(&o.theirs, "theirs", "", "the `folder` of the plugins to compare with (default: upstream's, built from the module in go.mod)")
	flag.StringVar(&o.empty, "empty", "", "a `program` that does nothing, for the floor (default: none is measured)")
	flag.StringVar(&o.conf, "conf", "", "a .conflist `file` to measure instead of the built-in cases")
	flag.Float64Var(&o.rounds, "rounds", 1, "`times` as many rounds of each case")
	flag.StringVar(&o.out, "out", "", "a `folder` to write table.md and plot.svg to")
	flag.BoolVar(&o.counts, "counts", true, "count processes, messages, lists and fsyncs too, with strace")
	names := flag.String("case", "", "measure only the cases that this `expression` matches")
	flag.Parse()
	if o.names, err = regexp.Compile(*names); err != nil {
		return o, err
	}
	if o.theirs == "" {
		o.theirs, err = upstream()
	}
	return o, err
}

// upstream builds the plugins that the built-in cases name, and gives their folder.
func upstream() (folder string, err error) {
	for _, plugin := range []string{"bridge", "ptp", "macvlan", "ipvlan", "vlan", "dummy", "tap", "host-device", "loopback", "host-local", "portmap", "tuning"} {
		path, err := kerneltest.BuildUpstream(plugin)
		if err != nil {
			return "", fmt.Errorf("build upstream's %s: %w", plugin, err)
		}
		folder = filepath.Dir(path)
	}
	return folder, nil
}
