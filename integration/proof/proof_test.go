package main

import (
	"fmt"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.RootMain(m) }

// built has all plugins.
func built(t *testing.T) string {
	list, err := exec.Command("go", "list", "../../plugins/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var plugins []string
	for _, folder := range strings.Fields(string(list)) {
		if _, plugin, _ := strings.Cut(folder, "/plugins/"); strings.Count(plugin, "/") == 1 {
			plugins = append(plugins, path.Join("plugins", plugin))
		}
	}
	return kerneltest.Build(t, plugins...)
}

// sample are the cases of the parts that have many.
var sample = regexp.MustCompile("^(tap|dhcp|the long chain) (ADD|DEL|GC|interrupted)$|^(nftables|iptables|bridge|macvlan|host-device|loopback)$")

// TestSample is a short sample of each part; proof.sh has the whole.
func TestSample(t *testing.T) {
	p := &proof{plugins: built(t), points: 2, cases: sample}
	for _, part := range parts {
		t.Run(part.name, func(t *testing.T) {
			rows, err := part.run(p)
			if err != nil {
				t.Fatal(err)
			}
			if len(rows) == 0 {
				t.Error("nothing was tried")
			}
			for _, r := range rows {
				if r.points == 0 && !strings.HasSuffix(r.what, lackingHere) {
					t.Errorf("%s: no point was tried", r.what)
				}
				for _, wrong := range r.wrong {
					t.Errorf("%s: %s", r.what, wrong)
				}
			}
		})
	}
}

// TestGrounds is a sample of what pods do to interfaces that not every kernel has.
func TestGrounds(t *testing.T) {
	for _, g := range grounds {
		if g.needs != "" {
			t.Run(g.what, func(t *testing.T) {
				kerneltest.Needs(t, feature(g.needs))
				r, err := g.fight(&proof{plugins: built(t), points: 2})
				if err != nil || r.points == 0 || len(r.wrong) > 0 {
					t.Errorf("%d points: %q, %v", r.points, r.wrong, err)
				}
			})
		}
	}
}

// TestChains is a sample of the chains that not every kernel can make.
func TestChains(t *testing.T) {
	for _, c := range chains {
		if c.needs == "" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			kerneltest.Needs(t, feature(c.needs))
			p := &proof{plugins: built(t), points: 1}
			killed, err := p.over(c, "ADD", changing, 2, func(s *site, at point) ([]string, error) { return s.kill("ADD", at) })
			if err != nil {
				t.Fatal(err)
			}
			interrupted, err := p.interrupted(c)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range []row{killed, interrupted} {
				if r.points == 0 || len(r.wrong) > 0 {
					t.Errorf("%s: %d points: %q", r.what, r.points, r.wrong)
				}
			}
		})
	}
}

// feature is the name of what a link needs, as tests ask for it.
func feature(needs string) string {
	if strings.Contains(needs, "vlan_filtering") {
		return "vlan filtering"
	}
	_, kind, _ := strings.Cut(needs, "type ")
	return strings.Fields(kind)[0]
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		points, n int
		want      string
	}{
		{0, 3, "[1 2 3]"}, {5, 3, "[1 2 3]"}, {3, 101, "[1 51 101]"}, {2, 7, "[1 7]"}, {1, 9, "[5]"}, {4, 0, "[]"},
	} {
		if got := (&proof{points: c.points}).spread(c.n); fmt.Sprint(got) != c.want {
			t.Errorf("%d points of %d: %v, not %s", c.points, c.n, got, c.want)
		}
	}
}

func TestTogether(t *testing.T) {
	busy := make([]int, workers())
	done := make([]bool, 50)
	together(len(done), func(worker, i int) {
		busy[worker]++
		done[i] = true
	})
	if slices.Contains(done, false) {
		t.Errorf("done: %v, by %v", done, busy)
	}
}

// TestJustEnded: what go test says of the end of its time is told from an input that fails.
func TestJustEnded(t *testing.T) {
	const ended = "fuzz: elapsed: 10s, execs: 3329\n--- FAIL: FuzzRecord (10.12s)\n    context deadline exceeded\nFAIL\nexit status 1\n"
	for out, want := range map[string]bool{
		ended: true, ended + "    Failing input written to testdata/fuzz/FuzzRecord/1\n": false,
		"--- FAIL: FuzzRecord (1s)\n    --- FAIL: FuzzRecord (0.00s)\n        x_test.go:1: context deadline exceeded\nFAIL\n": false,
	} {
		if justEnded([]byte(out)) != want {
			t.Errorf("%q: %v", out, !want)
		}
	}
}
