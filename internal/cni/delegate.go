package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// Delegate has another plugin do a verb in the same environment and on the same
// input, and returns what it printed. An error that the plugin printed keeps its
// code and details. With an argument and no verb it is run as people do, which
// changes nothing: a plugin that does not know arguments then only says what it is.
func (r *Request) Delegate(plugin, verb string, args ...string) ([]byte, error) {
	path, err := Find(plugin, r.Path)
	if err != nil {
		return nil, err
	}
	return r.Execute(path, verb, args...)
}

// With is the request as a plugin gets it that the whole of a verb is delegated
// to. The configuration takes the place of the request's own; what the runtime
// has added to that for the verb comes along.
func (r *Request) With(verb string, conf map[string]json.RawMessage) (*Request, error) {
	full := maps.Clone(conf)
	switch prev, err := r.PrevResult(); {
	case verb == GC && r.Conf.valid().Given:
		// Under both names, as libcni does: an older plugin knows the older one.
		list, _ := json.Marshal(append([]ValidAttachment{}, r.Conf.valid().List...))
		full["cni.dev/valid-attachments"], full["cni.dev/attachments"] = list, list
	case verb != GC && verb != Status && err == nil && prev != nil:
		full["prevResult"] = r.Conf.PrevResult
		// It is written in the version of the request.
		full["cniVersion"], _ = json.Marshal(r.Conf.CNIVersion)
	}
	stdin, err := json.Marshal(full)
	with := *r
	with.Verb, with.Stdin, with.Doc = verb, stdin, nil
	return &with, err
}

// Execute runs a plugin's program to its end, never by a shell, and returns what it
// printed.
func (r *Request) Execute(path, verb string, args ...string) ([]byte, error) {
	// A runtime that loses patience kills this process. What it would leave
	// running could take an address after the DEL that follows. The kernel sends
	// the signal when the thread ends that started the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c := exec.Command(path, args...)
	c.Env, c.Stdin, c.Stderr = r.environment(verb), bytes.NewReader(r.Stdin), os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("execute %s: %w", path, err)
	}
	printed, err := io.ReadAll(io.LimitReader(out, inputMax+1))
	if len(printed) > inputMax {
		_ = c.Process.Kill()
	}
	err = errors.Join(err, c.Wait())
	switch {
	case len(printed) > inputMax:
		return nil, Errorf(CodeIO, "%s printed more than %d bytes, and was ended", filepath.Base(path), inputMax)
	case errors.As(err, new(*exec.ExitError)):
		return nil, printedBy(filepath.Base(path), printed, err)
	case err != nil:
		return nil, fmt.Errorf("execute %s: %w", path, err)
	}
	return printed, nil
}

// environment is the process's own, with a verb and the request's attachment: GC
// detaches others than the environment names, which names none.
func (r *Request) environment(verb string) (env []string) {
	own := map[string]string{"CNI_COMMAND": verb, "CNI_CONTAINERID": r.ContainerID, "CNI_IFNAME": r.IfName, "CNI_NETNS": r.Netns}
	for _, v := range os.Environ() {
		key, _, _ := strings.Cut(v, "=")
		if _, ours := own[key]; !ours {
			env = append(env, v)
		}
	}
	for key, value := range own {
		if _, had := os.LookupEnv(key); value != "" || had && key != "CNI_COMMAND" {
			env = append(env, key+"="+value)
		}
	}
	return env
}

// Find looks for a plugin's program in the folders of CNI_PATH. A plugin is
// named by its file name: a path is refused.
func Find(plugin, path string) (string, error) {
	if plugin == "" || plugin == "." || plugin == ".." || strings.ContainsRune(plugin, filepath.Separator) {
		return "", Errorf(CodeConfig, "type is %q, which is no name of a plugin", plugin)
	}
	if path == "" {
		return "", Errorf(CodeEnvironment, "CNI_PATH is empty: the plugin %s is to be found in it", plugin)
	}
	for _, dir := range filepath.SplitList(path) {
		if dir == "" {
			continue // by PATH's rules it would be the working folder
		}
		file, err := filepath.Abs(filepath.Join(dir, plugin))
		if err != nil {
			continue
		}
		if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() {
			return file, nil
		}
	}
	err := Errorf(CodeMissing, "find plugin %q in path %s: there is none: %w", plugin, path, fs.ErrNotExist)
	return "", Hint(err, "install the plugin's program into one of the folders of CNI_PATH")
}

// printedBy reads the error that a plugin printed.
func printedBy(plugin string, out []byte, exit error) error {
	e := &Error{}
	if text := bytes.TrimSpace(out); len(text) == 0 || json.Unmarshal(text, e) != nil || e.Msg == "" {
		return fmt.Errorf("%s printed no error that can be read: %w", plugin, exit)
	}
	return SaidBy(plugin, e)
}

// SaidBy names the plugin in its error, whose details stay apart from its text:
// the library's type has them there too.
func SaidBy(plugin string, err error) error {
	if err == nil {
		return nil
	}
	e := AsError(err)
	return Hint(Errorf(e.Code, "%s: %s", plugin, e.Msg), e.Details)
}
