// Package program executes other programs: plugins that addresses are delegated
// to, and iptables where a configuration asks for it by name. It does without
// os/exec, which is made for more and is no small part of a small binary, and
// without the files of package os, which first find out how to be waited for.
package program

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/catena-cni/catena/internal/file"
)

// Look finds a program's file in a list of folders as PATH has it. The name is
// that of a file, not a path.
func Look(name, path string) (file string, found bool) {
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() {
			return file, true
		}
	}
	return "", false
}

// Call is one execution. It is never given to a shell.
type Call struct {
	Path string
	Args []string
	Env  []string
	// Both takes the standard error with the output. Else it is this process's.
	Both bool
}

// Ended says how a program ended that did not succeed.
type Ended string

func (e Ended) Error() string { return string(e) }

// Running is a program that was started and has no input yet. It is for the
// goroutine that started it, which is to call Begin and Finish, or Abandon.
type Running struct {
	path      string
	pid       int
	feed, out int // descriptors of the pipes' ends here
	begun     bool
}

// Start starts a program.
func (c Call) Start() (*Running, error) {
	var in, out [2]int
	if err := syscall.Pipe2(in[:], syscall.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("execute %s: %w", c.Path, err)
	}
	defer syscall.Close(in[0])
	if err := syscall.Pipe2(out[:], syscall.O_CLOEXEC); err != nil {
		syscall.Close(in[1])
		return nil, fmt.Errorf("execute %s: %w", c.Path, err)
	}
	defer syscall.Close(out[1])
	complaints := 2
	if c.Both {
		complaints = out[1]
	}
	// The kernel sends the signal when the thread ends that started the process.
	runtime.LockOSThread()
	pid, _, err := syscall.StartProcess(c.Path, append([]string{c.Path}, c.Args...), &syscall.ProcAttr{
		Env: c.Env, Files: []uintptr{uintptr(in[0]), uintptr(out[1]), uintptr(complaints)},
		// A runtime that loses patience kills this process. What it would leave
		// running could take an address after the DEL that follows.
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		runtime.UnlockOSThread()
		syscall.Close(in[1])
		syscall.Close(out[0])
		return nil, fmt.Errorf("execute %s: %w", c.Path, &os.PathError{Op: "fork/exec", Path: c.Path, Err: err})
	}
	return &Running{path: c.Path, pid: pid, feed: in[1], out: out[0]}, nil
}

// Run executes a program to its end: Start, Begin and Finish.
func (c Call) Run(stdin []byte) (printed []byte, err error) {
	r, err := c.Start()
	if err != nil {
		return nil, err
	}
	r.Begin(stdin)
	return r.Finish()
}

// Finish waits for the program's end. What it printed is given also where it did
// not succeed, which is an Ended.
func (r *Running) Finish() (printed []byte, err error) {
	defer runtime.UnlockOSThread()
	defer syscall.Close(r.out)
	printed, rerr := file.ReadFrom(r.out, r.path)
	status, err := r.wait()
	switch err = errors.Join(err, rerr); {
	case err != nil:
		return nil, fmt.Errorf("execute %s: %w", r.path, err)
	case status.Signaled():
		return printed, Ended("signal: " + status.Signal().String())
	case status.ExitStatus() != 0:
		return printed, Ended(fmt.Sprintf("exit status %d", status.ExitStatus()))
	}
	return printed, nil
}

// pipeMin is what every pipe takes at once (pipe(7), PIPE_BUF).
const pipeMin = 4096

// Begin writes what the program is to read, which it need not do. A second time
// it does nothing.
func (r *Running) Begin(stdin []byte) {
	if r.begun {
		return
	}
	r.begun = true
	feed := func() {
		_ = file.WriteTo(r.feed, r.path, stdin)
		syscall.Close(r.feed)
	}
	if len(stdin) <= pipeMin {
		feed()
	} else {
		go feed()
	}
}

// Begun reports whether the program has its input.
func (r *Running) Begun() bool { return r.begun }

// Abandon ends a program that has got no input, and so has done nothing, and lets
// one that has go on to its end.
func (r *Running) Abandon() {
	if r.begun {
		_, _ = r.Finish()
		return
	}
	defer runtime.UnlockOSThread()
	_ = syscall.Kill(r.pid, syscall.SIGKILL)
	syscall.Close(r.feed)
	syscall.Close(r.out)
	_, _ = r.wait()
}

func (r *Running) wait() (status syscall.WaitStatus, err error) {
	_, err = file.Retry(func() (int, error) { return syscall.Wait4(r.pid, &status, 0, nil) })
	return status, err
}
