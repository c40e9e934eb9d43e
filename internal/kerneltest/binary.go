package kerneltest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Build builds the plugins of the module whose folders are given, relative to
// the module's root, into a folder of the test's process, as build_linux.sh
// does, each once, and returns that folder. Where CATENA_BIN names a folder,
// they are taken from there.
func Build(t testing.TB, plugins ...string) string {
	t.Helper()
	if dir := os.Getenv("CATENA_BIN"); dir != "" {
		return dir // built already
	}
	built.Lock()
	defer built.Unlock()
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "catena-bin-")
		if err != nil {
			t.Fatal(err)
		}
		built.dir, built.done = dir, map[string]bool{}
	}
	for _, p := range plugins {
		if built.done[p] {
			continue
		}
		c := exec.Command("go", "build", "-trimpath", "-buildvcs=auto", "-ldflags=-s -w", "-o", built.dir+"/", "github.com/catena-cni/catena/"+p)
		// git refuses in the folder of another user unless it is told.
		c.Env = append(os.Environ(), "CGO_ENABLED=0", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", p, err, out)
		}
		built.done[p] = true
	}
	return built.dir
}

var built struct {
	sync.Mutex
	dir  string
	done map[string]bool
}

// Call is one execution of a plugin, as a runtime does it. What is empty is
// that of a container "c1" with an interface eth0.
type Call struct {
	Bin, Plugin string
	Verb        string
	ContainerID string
	IfName      string
	Netns       string
	Args        string
	Conf        string
	// Programs is PATH, for a plugin of upstream's that executes some.
	Programs string
}

// Answer is what came of it.
type Answer struct {
	Stdout, Stderr string
	Exit           int
	// Code, Msg and Details are those of the error that was printed.
	Code         uint
	Msg, Details string
}

// Call executes a plugin on the sandbox's host.
func (s *Sandbox) Call(c Call) Answer {
	s.t.Helper()
	return s.Begin(c).Wait()
}

// Running is an execution that goes on.
type Running struct {
	s              *Sandbox
	plugin         string
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
}

// Begin starts a plugin on the sandbox's host, beside others.
func (s *Sandbox) Begin(c Call) *Running {
	s.t.Helper()
	r := &Running{s: s, plugin: c.Plugin, cmd: exec.Command(filepath.Join(c.Bin, c.Plugin))}
	r.cmd.Env = []string{
		"PATH=" + cmp.Or(c.Programs, "/nonexistent"), "CNI_PATH=" + c.Bin, "CNI_COMMAND=" + cmp.Or(c.Verb, "ADD"), "CNI_CONTAINERID=" + cmp.Or(c.ContainerID, "c1"),
		"CNI_IFNAME=" + cmp.Or(c.IfName, "eth0"), "CNI_NETNS=" + cmp.Or(c.Netns, s.Pod), "CNI_ARGS=" + c.Args,
	}
	r.cmd.Stdin, r.cmd.Stdout, r.cmd.Stderr = strings.NewReader(c.Conf), &r.stdout, &r.stderr
	if err := r.cmd.Start(); err != nil {
		s.t.Fatalf("execute %s: %v", c.Plugin, err)
	}
	return r
}

// Kill ends it as a runtime does that loses patience.
func (r *Running) Kill() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
}

// Killed waits for its end and reports whether a signal was it.
func (r *Running) Killed() bool {
	_ = r.cmd.Wait()
	return !r.cmd.ProcessState.Exited()
}

// Wait waits for its end and reads what it printed.
func (r *Running) Wait() Answer {
	r.s.t.Helper()
	err := r.cmd.Wait()
	a := Answer{Stdout: r.stdout.String(), Stderr: r.stderr.String()}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.s.t.Fatalf("execute %s: %v", r.plugin, err)
	}
	if exit != nil {
		a.Exit = exit.ExitCode()
		if err := json.Unmarshal(r.stdout.Bytes(), &a); err != nil {
			r.s.t.Fatalf("%s ended with %d and no error that can be read:\n%s%s", r.plugin, a.Exit, a.Stdout, a.Stderr)
		}
	}
	return a
}

// Finished has libcni keep a result of a container's eth0 in a network, as it does of
// an ADD that came to its end.
func (s *Sandbox) Finished(network, container string) {
	s.t.Helper()
	s.Run(fmt.Sprintf(`mkdir -p /var/lib/cni/results; echo '{"containerId":"%[2]s","ifName":"eth0","networkName":"%[1]s","result":{}}' >/var/lib/cni/results/%[1]s-%[2]s-eth0`,
		network, container))
}

// Together executes plugins at the same time. All must succeed.
func (s *Sandbox) Together(calls ...Call) {
	s.t.Helper()
	running := make([]*Running, len(calls))
	for i, c := range calls {
		running[i] = s.Begin(c)
	}
	for i, c := range calls {
		if a := running[i].Wait(); a.Exit != 0 {
			s.t.Errorf("%s %s of %s: code %d: %s", c.Plugin, c.Verb, c.IfName, a.Code, a.Msg)
		}
	}
}

// Must is Call for what must succeed.
func (s *Sandbox) Must(c Call) Answer {
	s.t.Helper()
	a := s.Call(c)
	if a.Exit != 0 {
		s.t.Fatalf("%s %s: code %d: %s (%s)\n%s", c.Plugin, c.Verb, a.Code, a.Msg, a.Details, a.Stderr)
	}
	return a
}

// Refuses executes a plugin that must fail with a code and words of its
// message, and leave everything as it was.
func (s *Sandbox) Refuses(c Call, code uint, words ...string) {
	s.t.Helper()
	before := s.Text()
	a := s.Call(c)
	if a.Exit == 0 {
		s.t.Errorf("it is accepted:\n%s", a.Stdout)
	}
	if a.Code != code {
		s.t.Errorf("code %d, not %d: %s", a.Code, code, a.Msg)
	}
	for _, w := range words {
		if !strings.Contains(a.Msg, w) {
			s.t.Errorf("the message does not say %q: %s", w, a.Msg)
		}
	}
	for _, w := range []string{"\n", "json: cannot", "struct field", ": file already exists", ": file does not exist"} {
		if strings.Contains(a.Msg, w) {
			s.t.Errorf("the message is not for people, it has %q: %s", w, a.Msg)
		}
	}
	s.Same("a refused call", before, s.Text())
}
