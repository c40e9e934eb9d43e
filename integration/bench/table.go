package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// row compares ours with another contender for one verb of one scenario. Costs of the same round stand at the same place.
type row struct {
	scenario, verb string
	ours, theirs   []cost
	against        string
	goal           float64 // most that ours may be of theirs; 0 where there is none
	note           string
}

// report is all that was found out.
type report struct {
	about  string // of the machine and of the programs
	rows   []row
	counts []counted
}

// median is the middle of what costs have, or between the two that are.
func median(costs []cost, of func(cost) time.Duration) time.Duration {
	all := sorted(costs, of)
	if len(all) == 0 {
		return 0
	}
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

// most is what 95 of 100 costs stay within: with few of them that is the highest.
func most(costs []cost, of func(cost) time.Duration) time.Duration {
	all := sorted(costs, of)
	if len(all) == 0 {
		return 0
	}
	return all[min(len(all)-1, len(all)*95/100)]
}

// sorted leaves out calls that have failed.
func sorted(costs []cost, of func(cost) time.Duration) (all []time.Duration) {
	for _, c := range costs {
		if c.wall > 0 {
			all = append(all, of(c))
		}
	}
	slices.Sort(all)
	return all
}

func wall(c cost) time.Duration { return c.wall }
func cpu(c cost) time.Duration  { return c.cpu }

// compared reports whether both have done it.
func (r row) compared() bool { return median(r.ours, wall) > 0 && median(r.theirs, wall) > 0 }

// ratio is that of the medians, which goals are about.
func (r row) ratio() float64 { return float64(median(r.ours, wall)) / float64(median(r.theirs, wall)) }

// pairs is the median of the ratios within each round in which both have done it.
func (r row) pairs() float64 {
	var all []float64
	for i := range min(len(r.ours), len(r.theirs)) {
		if r.ours[i].wall > 0 && r.theirs[i].wall > 0 {
			all = append(all, float64(r.ours[i].wall)/float64(r.theirs[i].wall))
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

// misses reports whether there is a goal that was not reached. What could not be compared has not reached it.
func (r row) misses() bool { return r.goal > 0 && (!r.compared() || r.ratio() > r.goal) }

// missed is the number of goals that were not reached.
func (r report) missed() (n int) {
	for _, row := range r.rows {
		if row.misses() {
			n++
		}
	}
	return n
}

// table is the report in Markdown.
func (r report) table() string {
	var b strings.Builder
	b.WriteString(r.about + "\n\nMilliseconds of whole calls: median, 95th percentile, and of processors (median), of several pods at a time for each " +
		"of them; then ours as a part of the other's, by the medians and, pair by pair, by the median of the rounds' ratios.\n\n" +
		"| case | verb | ours | p95 | CPU | the other | median | p95 | CPU | ratio | in pairs | goal |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, row := range r.rows {
		ratio, pairs := "", ""
		if row.compared() {
			ratio, pairs = fmt.Sprintf("%.3f", row.ratio()), fmt.Sprintf("%.3f", row.pairs())
		}
		cells := []string{
			row.scenario, row.verb, millis(median(row.ours, wall)), millis(most(row.ours, wall)), millis(median(row.ours, cpu)),
			row.against, millis(median(row.theirs, wall)), millis(most(row.theirs, wall)), millis(median(row.theirs, cpu)),
			ratio, pairs, row.verdict(),
		}
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	b.WriteString(countTable(r.counts))
	return b.String()
}

// verdict is the goal, whether it was missed, and what else is to be said.
func (r row) verdict() string {
	var words []string
	if r.goal > 0 {
		words = append(words, fmt.Sprint(r.goal))
	}
	if r.misses() {
		words = append(words, "**missed**")
	}
	if r.note != "" {
		words = append(words, cell(r.note))
	}
	return strings.Join(words, " ")
}

// noteSize is as much of an error as a table has room for, in bytes.
const noteSize = 160

// cell makes a text fit for a table.
func cell(text string) string {
	text = strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", "/")
	if len(text) > noteSize {
		text = strings.ToValidUTF8(text[:noteSize], "") + "..."
	}
	return text
}

func millis(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d >= 100*time.Millisecond:
		return fmt.Sprint(d.Milliseconds())
	}
	return fmt.Sprintf("%.2f", float64(d.Microseconds())/1000)
}

// write writes the report's files.
func (r report) write(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "table.md"), []byte(r.table()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "plot.svg"), []byte(r.plot()), 0o644)
}
