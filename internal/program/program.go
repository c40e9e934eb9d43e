// Package program executes other programs: plugins that addresses are delegated
// to, and iptables where a configuration asks for it by name. It does without
// os/exec, which is made for more and is no small part of a small binary.
package program

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
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
	Path  string
	Args  []string
	Env   []string
	Stdin []byte
	// Both takes the standard error with the output. Else it is this process's.
	Both bool
}

// Ended says how a program ended that did not succeed.
type Ended string

func (e Ended) Error() string { return string(e) }

// Run executes a program to its end, and gives what it printed, also where it
// did not succeed, which is an Ended.
func (c Call) Run() (printed []byte, err error) {
	// The kernel sends the signal when the thread ends that started the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	in, feed, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("execute %s: %w", c.Path, err)
	}
	defer feed.Close()
	out, answer, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("execute %s: %w", c.Path, err), in.Close())
	}
	defer out.Close()
	complaints := os.Stderr
	if c.Both {
		complaints = answer
	}
	process, err := os.StartProcess(c.Path, append([]string{c.Path}, c.Args...), &os.ProcAttr{
		Env: c.Env, Files: []*os.File{in, answer, complaints},
		// A runtime that loses patience kills this process. What it would leave
		// running could take an address after the DEL that follows.
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	if err = errors.Join(err, in.Close(), answer.Close()); err != nil {
		return nil, fmt.Errorf("execute %s: %w", c.Path, err)
	}
	go func() {
		_, _ = feed.Write(c.Stdin) // a program need not read its input
		_ = feed.Close()
	}()
	printed, rerr := io.ReadAll(out)
	state, err := process.Wait()
	if err = errors.Join(err, rerr); err != nil {
		return nil, fmt.Errorf("execute %s: %w", c.Path, err)
	}
	if !state.Success() {
		return printed, Ended(state.String())
	}
	return printed, nil
}
