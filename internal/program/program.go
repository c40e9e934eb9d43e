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
func Look(name, folders string) (path string, found bool) {
	for _, dir := range filepath.SplitList(folders) {
		path := filepath.Join(dir, name)
		if m, err := file.ModeOf(path); err == nil && m.IsRegular() {
			return path, true
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

// Run executes a program to its end. What it printed is given also where it did
// not succeed, which is an Ended.
func (c Call) Run(stdin []byte) (printed []byte, err error) {
	// The kernel sends the signal when the thread ends that started the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, feed, out, err := c.start()
	if err != nil {
		return nil, fmt.Errorf("execute %s: %w", c.Path, err)
	}
	defer syscall.Close(out)
	write(feed, c.Path, stdin)
	printed, rerr := file.ReadFrom(out, c.Path)
	status, err := wait(pid)
	switch err = errors.Join(err, rerr); {
	case err != nil:
		return nil, fmt.Errorf("execute %s: %w", c.Path, err)
	case status.Signaled():
		return printed, Ended("signal: " + status.Signal().String())
	case status.ExitStatus() != 0:
		return printed, Ended(fmt.Sprintf("exit status %d", status.ExitStatus()))
	}
	return printed, nil
}

// start starts the process and gives the ends of its pipes: where its input goes
// and where its output comes from.
func (c Call) start() (pid, feed, printed int, err error) {
	var in, out [2]int
	if err := syscall.Pipe2(in[:], syscall.O_CLOEXEC); err != nil {
		return 0, 0, 0, err
	}
	defer syscall.Close(in[0])
	if err := syscall.Pipe2(out[:], syscall.O_CLOEXEC); err != nil {
		syscall.Close(in[1])
		return 0, 0, 0, err
	}
	defer syscall.Close(out[1])
	complaints := 2
	if c.Both {
		complaints = out[1]
	}
	pid, _, err = syscall.StartProcess(c.Path, append([]string{c.Path}, c.Args...), &syscall.ProcAttr{
		Env: c.Env, Files: []uintptr{uintptr(in[0]), uintptr(out[1]), uintptr(complaints)},
		// A runtime that loses patience kills this process. What it would leave
		// running could take an address after the DEL that follows.
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		syscall.Close(in[1])
		syscall.Close(out[0])
		return 0, 0, 0, &os.PathError{Op: "fork/exec", Path: c.Path, Err: err}
	}
	return pid, in[1], out[0], nil
}

// pipeMin is what every pipe takes at once (pipe(7), PIPE_BUF).
const pipeMin = 4096

// write gives a program its input, which it need not read.
func write(feed int, path string, stdin []byte) {
	all := func() {
		_ = file.WriteTo(feed, path, stdin)
		syscall.Close(feed)
	}
	if len(stdin) <= pipeMin {
		all()
	} else {
		go all()
	}
}

func wait(pid int) (status syscall.WaitStatus, err error) {
	_, err = file.Retry(func() (int, error) { return syscall.Wait4(pid, &status, 0, nil) })
	return status, err
}
