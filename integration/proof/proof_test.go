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
var sample = regexp.MustCompile("^(tap|the long chain) (ADD|DEL)$|^(nftables|iptables|bridge|macvlan|host-device|loopback)$")

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
		if _, kind, needs := strings.Cut(g.needs, "type "); needs {
			t.Run(g.what, func(t *testing.T) {
				kerneltest.Needs(t, strings.Fields(kind)[0])
				r, err := g.fight(&proof{plugins: built(t), points: 2})
				if err != nil || r.points == 0 || len(r.wrong) > 0 {
					t.Errorf("%d points: %q, %v", r.points, r.wrong, err)
				}
			})
		}
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		points, n int
		want      string
	}{
		{0, 3, "[1 2 3]"}, {5, 3, "[1 2 3]"}, {3, 101, "[1 51 101]"}, {2, 7, "[1 7]"}, {1, 9, "[1]"}, {4, 0, "[]"},
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
