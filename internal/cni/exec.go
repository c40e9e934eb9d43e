package cni

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// look finds a program's file in a list of folders as PATH has it. The name is
// that of a file, not a path. An empty entry is none: by PATH's rules it would be
// the working folder.
func look(name, folders string) (path string, found bool) {
	for _, dir := range filepath.SplitList(folders) {
		if dir == "" {
			continue
		}
		path, err := filepath.Abs(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
			return path, true
		}
	}
	return "", false
}

// run executes a program to its end, never by a shell. What it printed is given
// also where it did not succeed, which is an *exec.ExitError.
func run(path string, args, env []string, stdin []byte) (printed []byte, err error) {
	// A runtime that loses patience kills this process. What it would leave
	// running could take an address after the DEL that follows. The kernel sends
	// the signal when the thread ends that started the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c := exec.Command(path, args...)
	c.Env, c.Stdin, c.Stderr = env, bytes.NewReader(stdin), os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	printed, err = c.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, fmt.Errorf("execute %s: %w", path, err)
	}
	return printed, err
}
