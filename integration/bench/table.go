package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// row compares ours with another contender for one verb of one scenario.
type row struct {
	scenario, verb string
	ours, theirs   []cost
	against        string
	goal           float64 // most that ours may be of theirs; 0 where there is none
	note           string
}

// report is all that was found out.
type report struct {
	rows   []row
	counts []counted
}

// median of one side of the costs. The costs stay as they are.
func median(costs []cost, of func(cost) time.Duration) time.Duration { return quantile(costs, of, 0.5) }

// quantile of the costs, the nearest of them.
func quantile(costs []cost, of func(cost) time.Duration, q float64) time.Duration {
	if len(costs) == 0 {
		return 0
	}
	all := make([]time.Duration, len(costs))
	for i, c := range costs {
		all[i] = of(c)
	}
	slices.Sort(all)
	return all[min(len(all)-1, int(q*float64(len(all))))]
}

func wall(c cost) time.Duration { return c.wall }
func cpu(c cost) time.Duration  { return c.cpu }

// ratio is that of the medians, which goals are about.
func (r row) ratio() float64 { return float64(median(r.ours, wall)) / float64(median(r.theirs, wall)) }

// pairs is the median of the ratios within each round.
func (r row) pairs() float64 {
	var all []float64
	for i := range min(len(r.ours), len(r.theirs)) {
		all = append(all, float64(r.ours[i].wall)/float64(r.theirs[i].wall))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func (r row) misses() bool { return r.goal > 0 && (len(r.theirs) == 0 || r.ratio() > r.goal) }

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
	b.WriteString("Milliseconds: median, 95th percentile, and of processors; then ours as a part of the other's, by the medians and pair by pair.\n\n")
	b.WriteString("| case | verb | ours | p95 | CPU | the other | median | p95 | CPU | ratio | in pairs | goal |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, row := range r.rows {
		if len(row.theirs) == 0 || len(row.ours) == 0 {
			fmt.Fprintf(&b, "| %s | %s | %s | | | %s | - | | | | | %s |\n", row.scenario, row.verb, millis(median(row.ours, wall)), row.against, row.note)
			continue
		}
		goal := ""
		if row.goal > 0 {
			goal = fmt.Sprintf("%.2f", row.goal)
			if row.misses() {
				goal += " **missed**"
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %.3f | %.3f | %s |\n", row.scenario, row.verb,
			millis(median(row.ours, wall)), millis(quantile(row.ours, wall, 0.95)), millis(median(row.ours, cpu)), row.against,
			millis(median(row.theirs, wall)), millis(quantile(row.theirs, wall, 0.95)), millis(median(row.theirs, cpu)),
			row.ratio(), row.pairs(), goal)
	}
	b.WriteString(countTable(r.counts))
	return b.String()
}

func millis(d time.Duration) string {
	if d == 0 {
		return "-"
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
