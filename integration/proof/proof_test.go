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

// TestSample is a short sample of each part; proof.sh has the whole.
func TestSample(t *testing.T) {
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
	p := &proof{plugins: kerneltest.Build(t, plugins...), points: 2, cases: regexp.MustCompile("^(tap|the long chain) (ADD|DEL)$")}
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
