package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrHung is in the error of a program that did not end.
var ErrHung = errors.New("it hung")

// longest is what no program takes on the busiest machine.
var longest = 5 * time.Minute

// runBounded runs a program to its end. One that hangs, or leaves another one behind that holds its output, is ended: the error
// says where each thread was, and what Go's programs say of themselves stands in what they printed.
func runBounded(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true // to end with it what it has started
	cmd.WaitDelay = 2 * longest    // for what has left the group
	if err := cmd.Start(); err != nil {
		return err
	}
	var where atomic.Pointer[string]
	quit := time.AfterFunc(longest, func() {
		text := threads(cmd.Process.Pid)
		if text == "" {
			text = "it has ended, and what it has started holds its output"
		}
		where.Store(&text)
		fmt.Fprintf(os.Stderr, "%s hangs: %s\n", cmd, text)
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGQUIT)
	})
	defer quit.Stop()
	kill := time.AfterFunc(longest+longest/4, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer kill.Stop()
	err := cmd.Wait()
	switch text := where.Load(); {
	case text != nil:
		return fmt.Errorf("%s: %w: %s\n%s%s", cmd, ErrHung, *text, cmd.Stdout, cmd.Stderr)
	case errors.Is(err, exec.ErrWaitDelay):
		return fmt.Errorf("%s: %w: %w", cmd, ErrHung, err)
	}
	return err
}

// threads says where the threads of a process and of its children are in the kernel.
func threads(pid int) string {
	var b strings.Builder
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, task := range tasks {
		fmt.Fprintf(&b, "\n%s", task)
		for _, file := range []string{"comm", "syscall", "stack"} {
			text, _ := os.ReadFile(filepath.Join(task, file))
			fmt.Fprintf(&b, " | %s", strings.Join(strings.Fields(string(text)), " "))
		}
		children, _ := os.ReadFile(filepath.Join(task, "children"))
		for child := range strings.FieldsSeq(string(children)) {
			var id int
			if _, err := fmt.Sscan(child, &id); err == nil {
				b.WriteString(threads(id))
			}
		}
	}
	return b.String()
}
