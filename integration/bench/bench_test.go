package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/integration/strace"
	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.RootMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// both are options to measure plugins against themselves.
func both(t *testing.T, names string) options {
	t.Helper()
	bin := kerneltest.Build(t, "plugins/main/bridge", "plugins/ipam/host-local", "plugins/meta/portmap", "plugins/meta/tuning", "plugins/meta/loopback")
	return options{ours: bin, theirs: bin, names: regexp.MustCompile(names), rounds: 0.05, counts: true}
}

// TestChain measures the chain, with its counts, and holds together what came out.
func TestChain(t *testing.T) {
	o := both(t, "^chain, IPv4$")
	r, err := o.measure()
	must(t, err)

	var rows []string
	for _, row := range r.rows {
		rows = append(rows, row.verb+" "+row.against)
		if len(row.ours) != 2 || len(row.theirs) != 2 || !row.compared() || row.pairs() <= 0 || median(row.ours, cpu) <= 0 || median(row.theirs, cpu) <= 0 {
			t.Errorf("%s against %s: %v and %v", row.verb, row.against, row.ours, row.theirs)
		}
	}
	if want := []string{"ADD upstream's", "CHECK upstream's", "DEL upstream's"}; !slices.Equal(rows, want) {
		t.Errorf("rows %q, not %q", rows, want)
	}

	asked := map[string]strace.Calls{}
	for _, c := range r.counts {
		asked[c.verb+" "+c.who] = c.calls
		// Of sources that were changed since their commit, bridge executes host-local too.
		executed := slices.DeleteFunc(slices.Clone(c.calls.Programs), func(p string) bool { return p == "host-local" })
		if want := []string{"bridge", "portmap", "tuning"}; !slices.Equal(executed, want) {
			t.Errorf("%s of %s executes %v, not %v", c.verb, c.who, c.calls.Programs, want)
		}
		if c.verb != "CHECK" && c.calls.Dumps() > 0 {
			t.Errorf("%s of %s asks for lists: %+v", c.verb, c.who, c.calls.Requests)
		}
		batch := func(message int) int {
			return c.calls.Requests[strace.Request{Family: unix.NETLINK_NETFILTER, Type: uint16(message)}]
		}
		if begun := batch(unix.NFNL_MSG_BATCH_BEGIN); begun != batch(unix.NFNL_MSG_BATCH_END) || begun == 0 && c.verb != "CHECK" {
			t.Errorf("%s of %s: batches are not seen as a whole: %+v", c.verb, c.who, c.calls.Requests)
		}
	}
	if got, want := slices.Sorted(maps.Keys(asked)), []string{"ADD ours", "ADD upstream's", "CHECK ours", "CHECK upstream's", "DEL ours", "DEL upstream's"}; !slices.Equal(got, want) {
		t.Errorf("counted %q, not %q", got, want)
	}
	for _, verb := range verbs {
		if ours, theirs := asked[verb+" ours"], asked[verb+" upstream's"]; !maps.Equal(ours.Requests, theirs.Requests) || ours.RTNL() == 0 {
			t.Errorf("%s of the same plugins asks for %+v and for %+v", verb, ours.Requests, theirs.Requests)
		}
	}
	written(t, r)
}

// written looks at the report's files.
func written(t *testing.T, r report) {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "results")
	must(t, r.write(folder))
	table, err := os.ReadFile(filepath.Join(folder, "table.md"))
	must(t, err)
	columns := 0
	for line := range strings.Lines(string(table)) {
		if strings.HasPrefix(line, "|") && columns > 0 && strings.Count(line, "|") != columns {
			t.Errorf("a line of the table has other columns: %s", line)
		}
		columns = 0
		if strings.HasPrefix(line, "|") {
			columns = strings.Count(line, "|")
		}
	}
	plot, err := os.ReadFile(filepath.Join(folder, "plot.svg"))
	must(t, err)
	if len(plot) > 60_000 {
		t.Errorf("the plot has %d bytes", len(plot))
	}
	if bars := bytes.Count(plot, []byte(`height="9"`)); bars != 6 {
		t.Errorf("the plot has %d bars, not 6", bars)
	}
	for d := xml.NewDecoder(bytes.NewReader(plot)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the plot: %v", err)
		}
	}
}

// TestUnable measures against plugins that cannot CHECK, which is told and does not move the other rounds' costs.
func TestUnable(t *testing.T) {
	o := both(t, "^loopback$")
	o.rounds, o.theirs = 0.15, t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\n[ $CNI_COMMAND = CHECK ] && { echo '{\"code\":7,\"msg\":\"it cannot | CHECK\"}'; exit 1; }\nexec %s/loopback\n", o.ours)
	must(t, os.WriteFile(filepath.Join(o.theirs, "loopback"), []byte(script), 0o755))
	r, err := o.measure()
	must(t, err)
	table := r.table()
	for verb, cells := range map[string]string{"CHECK": `\| - \| - \| - \|  \|  \| .*it cannot / CHECK \|`, "DEL": `\| [0-9.]+ \| [0-9.]+ \| [0-9.]+ \| [0-9.]+ \| [0-9.]+ \|  \|`} {
		if !regexp.MustCompile(`\| loopback \| ` + verb + ` \| [0-9.]+ \| [0-9.]+ \| [0-9.]+ \| upstream's ` + cells).MatchString(table) {
			t.Errorf("no row says how %s went:\n%s", verb, table)
		}
	}
	if len(r.counts) > 0 {
		t.Errorf("a case that is not to be counted was: %+v", r.counts)
	}
}

func costs(milliseconds ...int) (all []cost) {
	for _, ms := range milliseconds {
		all = append(all, cost{wall: time.Duration(ms) * time.Millisecond, cpu: time.Millisecond})
	}
	return all
}

func TestStatistics(t *testing.T) {
	for _, c := range []struct {
		costs        []cost
		median, most int
	}{
		{costs(), 0, 0},
		{costs(7), 7, 7},
		{costs(9, 1), 5, 9},
		{costs(3, 1, 2), 2, 3},
		{costs(0, 4, 0, 8), 6, 8}, // 0 is a call that has failed
	} {
		if m, p := median(c.costs, wall), most(c.costs, wall); m != time.Duration(c.median)*time.Millisecond || p != time.Duration(c.most)*time.Millisecond {
			t.Errorf("%v: median %v and 95th percentile %v, not %d and %d", c.costs, m, p, c.median, c.most)
		}
	}
	var hundred []int
	for i := range 100 {
		hundred = append(hundred, i+1)
	}
	if p := most(costs(hundred...), wall); p != 96*time.Millisecond {
		t.Errorf("of 1 to 100 the 95th percentile is %v", p)
	}
	for name, c := range map[string]struct {
		row    row
		pairs  float64
		misses bool
	}{
		"reached":       {row{ours: costs(1, 2, 3), theirs: costs(10, 10, 10), goal: 0.2}, 0.2, false},
		"missed":        {row{ours: costs(1, 3, 3), theirs: costs(10, 10, 10), goal: 0.2}, 0.3, true},
		"no goal":       {row{ours: costs(9), theirs: costs(3)}, 3, false},
		"a failed one":  {row{ours: costs(1, 2, 3, 4), theirs: costs(10, 0, 0, 10), goal: 0.25}, 0.25, false},
		"none of them":  {row{ours: costs(1, 2), theirs: costs(0, 0), goal: 0.25}, 0, true},
		"only one side": {row{ours: costs(1, 2)}, 0, false},
	} {
		if c.row.pairs() != c.pairs || c.row.misses() != c.misses {
			t.Errorf("%s: in pairs %v, missed %v", name, c.row.pairs(), c.row.misses())
		}
	}
}

// TestCases: each case can be read, and each plugin that they name is one of those that upstream's are built of.
func TestCases(t *testing.T) {
	all, err := chosen(options{names: regexp.MustCompile("")})
	must(t, err)
	seen := map[string]bool{}
	for _, s := range all {
		if seen[s.name] || s.rounds == 0 || s.together == 0 || len(s.verbs) == 0 {
			t.Errorf("%+v", s)
		}
		seen[s.name] = true
		for _, m := range regexp.MustCompile(`"type":"([^"]*)"`).FindAllStringSubmatch(s.conf, -1) {
			if !slices.Contains(measured, m[1]) {
				t.Errorf("%s names %s", s.name, m[1])
			}
		}
	}
	if _, err := chosen(options{names: regexp.MustCompile("no such case")}); err == nil {
		t.Error("no case is no error")
	}
}
