package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/catena-cni/catena/integration/node"
)

// fuzzed gives what the plugins read inputs that nobody thought of: each of the fuzz targets of the packages' tests, for
// p.fuzztime; where that is 0, the seeds of p.points of them. An input that fails stays in the target's testdata/fuzz, and is a
// test from then on. It needs no root.
func fuzzed(p *proof) ([]row, error) {
	root, err := node.Root()
	if err != nil {
		return nil, err
	}
	targets, err := fuzzTargets(root)
	if p.fuzztime == 0 {
		var some []fuzzTarget
		for _, i := range p.spread(len(targets)) {
			some = append(some, targets[i-1])
		}
		targets = some
	}
	rows, errs := make([]row, len(targets)), make([]error, len(targets))
	together(len(targets), func(_, i int) { rows[i], errs[i] = targets[i].try(p.fuzztime) })
	return rows, errors.Join(append(errs, err)...)
}

// fuzzTarget is a function of a package's tests.
type fuzzTarget struct{ root, pkg, name string }

var declaration = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(\w+ \*testing\.F\)`)

func fuzzTargets(root string) (all []fuzzTarget, err error) {
	for _, dir := range []string{"internal", "plugins"} {
		err = errors.Join(err, filepath.WalkDir(filepath.Join(root, dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, name := range declaration.FindAllSubmatch(text, -1) {
				pkg, _ := filepath.Rel(root, filepath.Dir(path))
				all = append(all, fuzzTarget{root, pkg, string(name[1])})
			}
			return err
		}))
	}
	return all, err
}

var (
	executions = regexp.MustCompile(`execs: (\d+)`)
	seeds      = regexp.MustCompile(`(?m)^    --- (PASS|FAIL): Fuzz`)
)

func (f fuzzTarget) try(fuzztime time.Duration) (row, error) {
	r := row{what: f.pkg + " " + f.name}
	args := []string{"test", "-count=1", "-v", "-run", "^" + f.name + "$"}
	if fuzztime > 0 {
		args = []string{"test", "-run", "^$", "-fuzz", "^" + f.name + "$", "-fuzztime", fuzztime.String(), "-fuzzminimizetime", "1s", "-parallel", "1"}
	}
	c := exec.Command("go", append(args, "./"+f.pkg)...)
	c.Dir = f.root
	out, err := c.CombinedOutput()
	r.points = len(seeds.FindAll(out, -1))
	if all := executions.FindAllSubmatch(out, -1); all != nil {
		r.points, _ = strconv.Atoi(string(all[len(all)-1][1]))
	}
	switch {
	case err != nil && justEnded(out):
	case err != nil && bytes.Contains(out, []byte("--- FAIL")):
		r.wrong = append(r.wrong, string(out))
	case err != nil:
		return r, fmt.Errorf("%s: %w: %s", r.what, err, out)
	}
	if r.points == 0 && len(r.wrong) == 0 && 0 < fuzztime && fuzztime < time.Hour {
		return f.try(4 * fuzztime) // a busy machine has not come past the inputs that it had
	}
	return r, nil
}

// justEnded knows the end of the time that go test calls a failure where the machine is busy: no input has failed.
func justEnded(out []byte) bool {
	return timeIsUp.Match(out) && !bytes.Contains(out, []byte("Failing input")) && !bytes.Contains(out, []byte("panic:"))
}

var timeIsUp = regexp.MustCompile(`(?m)^--- FAIL: Fuzz\w+ \(.*\)\n    context deadline exceeded\nFAIL$`)
