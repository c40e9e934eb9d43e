package hostlocal_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// manyLeases are in the network that is compared with an empty one.
const manyLeases = 60_000

// ratioMax is how much longer a call may take with manyLeases than without.
const ratioMax = 1.5

// roundsMin is how many calls of ours a median needs.
const roundsMin = 40

// A size is a network whose calls are measured.
type size struct {
	name, ranges string
	firsts       []string // of the leases in each set
	leases       int      // in each set
	grows        bool     // ADD goes all the way round, and reads the folder once
}

// BenchmarkLeases runs the binaries, ours and upstream's, on networks without
// leases and with many, and reports the medians and, for ours, how they
// compare. Calls on the two networks take turns, so that both see the same
// noise. The leases are files as upstream's host-local leaves them.
func BenchmarkLeases(b *testing.B) {
	theirs := kerneltest.Upstream(b, "host-local")
	for _, s := range []size{
		{name: "of a 16", ranges: `[[{"subnet":"10.0.0.0/16"}]]`, firsts: []string{"10.0.0.2"}, leases: manyLeases},
		{name: "of an 8", ranges: `[[{"subnet":"10.0.0.0/8"}]]`, firsts: []string{"10.0.0.2"}, leases: manyLeases},
		{name: "of two sets", ranges: `[[{"subnet":"10.0.0.0/8"}],[{"subnet":"fd00::/64"}]]`, firsts: []string{"10.0.0.2", "fd00::2"}, leases: manyLeases / 2},
		{name: "all but one", ranges: `[[{"subnet":"10.0.0.0/16"}]]`, firsts: []string{"10.0.0.3"}, leases: 65_532, grows: true},
	} {
		b.Run(s.name, func(b *testing.B) {
			ours := pair{program: binary, none: s.world(b, 0), many: s.world(b, s.leases)}
			upstreams := pair{program: theirs, none: s.world(b, 0), many: s.world(b, s.leases)}
			began := time.Now()
			ours.many.del(b, "first", s.conf(ours.many)) // makes the index
			b.Logf("the first call on %d leases of upstream's took %v", s.leases*len(s.firsts), time.Since(began).Round(time.Millisecond))
			for _, verb := range []string{"ADD", "CHECK", "DEL", "DEL unknown"} {
				b.Run(verb, func(b *testing.B) {
					for range 3 {
						upstreams.measure(b, s, verb)
					}
					for b.Loop() {
						ours.measure(b, s, verb)
					}
					for len(ours.tNone) < roundsMin {
						ours.measure(b, s, verb)
					}
					none, many := ours.medians()
					b.ReportMetric(0, "ns/op")
					b.ReportMetric(none, "ms-ours-0")
					b.ReportMetric(many, "ms-ours")
					b.ReportMetric(many/none, "ratio-ours")
					if many/none > ratioMax && !(s.grows && verb == "ADD") {
						b.Errorf("%s takes %.1f times as long with leases as without, and may take %.1f times as long", verb, many/none, ratioMax)
					}
					none, many = upstreams.medians()
					b.ReportMetric(none, "ms-upstream-0")
					b.ReportMetric(many, "ms-upstream")
				})
			}
		})
	}
}

// world is a network with this number of leases in each set.
func (s size) world(b *testing.B, leases int) world {
	b.Helper()
	w := aWorld(b)
	folder := filepath.Join(w.dir, "n")
	must(b, os.MkdirAll(folder, 0o755))
	for set, first := range s.firsts {
		at := netip.MustParseAddr(first)
		for i := range leases {
			must(b, os.WriteFile(filepath.Join(folder, at.String()), fmt.Appendf(nil, "%064x\r\neth0", i), 0o600))
			at = at.Next()
		}
		if leases > 0 {
			must(b, os.WriteFile(filepath.Join(folder, fmt.Sprint("last_reserved_ip.", set)), []byte(at.Prev().String()), 0o600))
		}
	}
	return w
}

func (s size) conf(w world) string { return w.conf("1.0.0", `"ranges":`+s.ranges) }

// pair is two networks that one program works on.
type pair struct {
	program      string
	none, many   world
	tNone, tMany []time.Duration
}

// measure times a call on each of the two, in turn the one and the other first.
func (p *pair) measure(b *testing.B, s size, verb string) {
	b.Helper()
	one := func(w world, took *[]time.Duration) { *took = append(*took, p.time(b, w, s.conf(w), verb)) }
	if len(p.tNone)%2 == 0 {
		one(p.none, &p.tNone)
		one(p.many, &p.tMany)
		return
	}
	one(p.many, &p.tMany)
	one(p.none, &p.tNone)
}

// time is how long a call takes, without what prepares it and cleans up.
func (p *pair) time(b *testing.B, w world, conf, verb string) time.Duration {
	b.Helper()
	run := func(verb, conf string) string {
		out, _, err := w.run(p.program, verb, "c", conf)
		must(b, err)
		return out
	}
	if verb == "CHECK" || verb == "DEL" {
		conf = with(conf, `"prevResult":`+run("ADD", conf))
	}
	command, _, _ := strings.Cut(verb, " ")
	began := time.Now()
	run(command, conf)
	took := time.Since(began)
	if verb == "ADD" || verb == "CHECK" {
		run("DEL", conf)
	}
	return took
}

// medians are those of the calls so far, in milliseconds, which it forgets.
func (p *pair) medians() (none, many float64) {
	median := func(took *[]time.Duration) float64 {
		slices.Sort(*took)
		defer func() { *took = nil }()
		return float64((*took)[len(*took)/2].Microseconds()) / 1000
	}
	return median(&p.tNone), median(&p.tMany)
}
