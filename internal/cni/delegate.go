package cni

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// Delegate executes another plugin with the same environment and input for a
// verb, and returns what it printed. An error that the plugin printed keeps its
// code and details.
func (r *Request) Delegate(plugin, verb string) ([]byte, error) {
	path, err := Find(plugin, r.Path)
	if err != nil {
		return nil, err
	}
	return run(path, nil, append(withoutCommand(os.Environ()), "CNI_COMMAND="+verb), r.Stdin)
}

// Ask runs another plugin with an argument, as people do, which changes nothing.
// The command is taken out of the environment: a plugin that does not know
// arguments then only says what it is.
func (r *Request) Ask(plugin, argument string) ([]byte, error) {
	path, err := Find(plugin, r.Path)
	if err != nil {
		return nil, err
	}
	return run(path, []string{argument}, withoutCommand(os.Environ()), r.Stdin)
}

func withoutCommand(env []string) []string {
	var out []string
	for _, v := range env {
		if !strings.HasPrefix(v, "CNI_COMMAND=") {
			out = append(out, v)
		}
	}
	return out
}

// Find looks for a plugin's program in the folders of CNI_PATH. A plugin is
// named by its file name: a path is refused.
func Find(plugin, path string) (string, error) {
	if plugin == "" || plugin == "." || plugin == ".." || strings.ContainsRune(plugin, filepath.Separator) {
		return "", Errorf(CodeConfig, "%q is no name of a plugin", plugin)
	}
	if path == "" {
		return "", Errorf(CodeEnvironment, "CNI_PATH is empty: the plugin %s is to be found in it", plugin)
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, plugin)
		if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() {
			return file, nil
		}
	}
	err := Errorf(CodeMissing, "find plugin %q in path %s: %w", plugin, path, fs.ErrNotExist)
	return "", Hint(err, "install the plugin's program into one of the folders of CNI_PATH")
}

// run executes a program to its end. It does without os/exec, which is made for
// more and is no small part of a small binary.
func run(path string, args, env []string, stdin []byte) ([]byte, error) {
	// The kernel sends the signal when the thread ends that started the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	in, feed, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("execute %s: %w", path, err)
	}
	defer feed.Close()
	out, answer, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("execute %s: %w", path, err), in.Close())
	}
	defer out.Close()
	process, err := os.StartProcess(path, append([]string{path}, args...), &os.ProcAttr{
		Env: env, Files: []*os.File{in, answer, os.Stderr},
		// A runtime that loses patience kills this process. What it would leave
		// running could take an address after the DEL that follows.
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	if err = errors.Join(err, in.Close(), answer.Close()); err != nil {
		return nil, fmt.Errorf("execute %s: %w", path, err)
	}
	go func() {
		_, _ = feed.Write(stdin) // a program need not read its input
		_ = feed.Close()
	}()
	printed, rerr := io.ReadAll(out)
	state, err := process.Wait()
	switch {
	case errors.Join(err, rerr) != nil:
		return nil, fmt.Errorf("execute %s: %w", path, errors.Join(err, rerr))
	case !state.Success():
		return nil, printedBy(filepath.Base(path), printed, errors.New(state.String()))
	}
	return printed, nil
}

// printedBy reads the error that a plugin printed.
func printedBy(plugin string, out []byte, exit error) error {
	e := &Error{}
	if json := bytes.TrimSpace(out); len(json) == 0 || decodeError(json, e) != nil || e.Msg == "" {
		return fmt.Errorf("%s printed no error that can be read: %w", plugin, exit)
	}
	e.Msg = plugin + ": " + e.Msg
	return e
}
