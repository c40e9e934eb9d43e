package main

import (
	"fmt"
	"html"
	"math"
	"strings"
	"time"
)

// Measures of the plot in pixels.
const (
	plotWidth  = 860
	plotLeft   = 270 // of the names
	plotRight  = 70  // of the last bar's number
	plotTop    = 44
	caseHeight = 6 // above a case's first verb
	verbHeight = 22
	barHeight  = 9
)

// plot is an SVG of ours beside upstream's medians. Its colours are between light and dark, so that they stand out from
// a page of either.
func (r report) plot() string {
	var shown []row
	for _, row := range r.rows {
		if row.against == nameTheirs && row.compared() {
			shown = append(shown, row)
		}
	}
	s := scaleOf(shown)
	var bars strings.Builder
	y, last := plotTop, ""
	for _, row := range shown {
		if row.scenario != last {
			y += caseHeight
			fmt.Fprintf(&bars, `<text x="0" y="%d">%s</text>`+"\n", y+13, html.EscapeString(row.scenario))
			last = row.scenario
		}
		fmt.Fprintf(&bars, `<text x="%d" y="%d" class="e">%s</text>`+"\n", plotLeft-8, y+13, html.EscapeString(row.verb))
		s.bar(&bars, "o", y, median(row.ours, wall))
		s.bar(&bars, "t", y+barHeight+1, median(row.theirs, wall))
		y += verbHeight
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="12" fill="#77808b">
<style>.e{text-anchor:end}.o{fill:#2f9e5b}.t{fill:#8d99a8}.n{font-size:9px}.g{stroke:#77808b;stroke-opacity:.3}</style>
<rect class="o" x="0" y="4" width="12" height="12"/><text x="18" y="14">ours</text>
<rect class="t" x="70" y="4" width="12" height="12"/><text x="88" y="14">upstream's</text>
<text x="%d" y="14" class="e">milliseconds, median, on a logarithmic scale</text>
`, plotWidth, y+8, plotWidth)
	for ms := s.first; ms <= s.last*1.001; ms *= 10 {
		x := s.at(ms)
		fmt.Fprintf(&b, `<path class="g" d="M%.0f %dV%d"/><text x="%.0[1]f" y="%[4]d" class="n">%[5]g</text>`+"\n", x, plotTop, y, plotTop-4, ms)
	}
	return b.String() + bars.String() + "</svg>\n"
}

// scale leads from milliseconds to pixels, between two powers of ten.
type scale struct{ first, last float64 }

func scaleOf(rows []row) scale {
	low, high := math.Inf(1), 0.0
	for _, row := range rows {
		for _, costs := range [][]cost{row.ours, row.theirs} {
			ms := float64(median(costs, wall)) / float64(time.Millisecond)
			low, high = min(low, ms), max(high, ms)
		}
	}
	if len(rows) == 0 {
		return scale{1, 10}
	}
	s := scale{math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high)))}
	s.last = max(s.last, s.first*10)
	return s
}

func (s scale) at(ms float64) float64 {
	return plotLeft + (plotWidth-plotLeft-plotRight)*math.Log10(ms/s.first)/math.Log10(s.last/s.first)
}

func (s scale) bar(b *strings.Builder, class string, y int, d time.Duration) {
	x := s.at(float64(d) / float64(time.Millisecond))
	fmt.Fprintf(b, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d"/><text x="%.1f" y="%d" class="n">%s</text>`+"\n",
		class, plotLeft, y, max(1, x-plotLeft), barHeight, x+4, y+barHeight-1, millis(d))
}
