package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// strace can do to a call what this file does, but it counts the calls of each thread for itself. A Go program's work moves
// between threads, so that a number would stand for several calls, or for none; here it stands for one.

// strike says what becomes of a program at one of its calls.
type strike struct {
	counts func(call) bool // which calls have a number
	at     int             // the number of the call, from 1 on; 0 only counts
	every  int             // also at each so many after it
	errno  unix.Errno      // what the call ends with instead of being made; 0 kills the program before it
	maker  bool            // kills the program that makes the call, whichever executed it
}

// hits reports whether the call of a number is struck.
func (s strike) hits(n int) bool {
	return s.at > 0 && (n == s.at || s.every > 0 && n > s.at && (n-s.at)%s.every == 0)
}

// call is a system call that a program is about to make.
type call struct {
	pid  int // of the thread
	nr   uint64
	args [6]uint64
}

// String is its name, and what its file is.
func (c call) String() string {
	if name, known := described[c.nr]; known && name.onFile {
		return name.name + " " + c.file()
	} else if known {
		return name.name
	}
	return "exit"
}

// file is what the first argument stands for.
func (c call) file() string {
	target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", c.pid, int32(c.args[0])))
	if err != nil {
		return ""
	}
	kind, _, _ := strings.Cut(target, ":[")
	return kind
}

// outcome is what came of an execution.
type outcome struct {
	stdout, stderr string
	status         unix.WaitStatus
	calls          []string // that have a number, by their names
	struck         []string // of those, the ones that were struck
	hung           bool     // it was ended since it did not end
}

func (o outcome) ok() bool { return o.status.Exited() && o.status.ExitStatus() == 0 }

// longest is how long a plugin may take on the busiest machine.
const longest = 2 * time.Minute

// trace executes a program, whose standard files are files already, with all that it executes itself. It must be called on
// a thread of its own that has no other children. The calls of the start, until it first reads its standard input, have no numbers.
func trace(cmd *exec.Cmd, s strike) (o outcome, err error) {
	cmd.SysProcAttr = &unix.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return o, err
	}
	root := cmd.Process.Pid
	defer func() { _ = cmd.Process.Release() }()
	t := tracee{root: root, strike: s, out: &o, alive: map[int]bool{root: true}, failing: map[int]bool{}}
	if _, err := unix.Wait4(root, nil, unix.WALL, nil); err != nil {
		return o, fmt.Errorf("wait for %s: %w", cmd.Path, err)
	}
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK |
		unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(root, options); err != nil {
		return o, fmt.Errorf("trace %s: %w", cmd.Path, err)
	}
	if err := unix.PtraceSyscall(root, 0); err != nil {
		return o, fmt.Errorf("trace %s: %w", cmd.Path, err)
	}
	impatient := time.AfterFunc(longest, t.end)
	defer impatient.Stop()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ECHILD):
			return o, nil
		case err != nil:
			return o, fmt.Errorf("wait for %s: %w", cmd.Path, err)
		default:
			t.stopped(pid, status)
		}
	}
}

// tracee is a program with its threads, and the programs that it executes with theirs.
type tracee struct {
	root   int
	strike strike
	out    *outcome
	begun  bool

	mu      sync.Mutex
	alive   map[int]bool
	failing map[int]bool // a call that is not made
}

// end ends what does not end.
func (t *tracee) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.out.hung = true
	for pid := range t.alive {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// stopped has a thread go on that has stopped. One that was killed meanwhile is no more there, which it tells itself.
func (t *tracee) stopped(pid int, status unix.WaitStatus) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !status.Stopped() {
		delete(t.alive, pid)
		if pid == t.root {
			t.out.status = status
		}
		return
	}
	fresh := !t.alive[pid]
	t.alive[pid] = true
	signal := status.StopSignal()
	switch {
	case signal == unix.SIGTRAP|0x80:
		t.atCall(pid)
		signal = 0
	case signal == unix.SIGTRAP, signal == unix.SIGSTOP && fresh:
		signal = 0 // an event of the tracing
	}
	_ = unix.PtraceSyscall(pid, int(signal))
}

// atCall is the beginning or the end of a call.
func (t *tracee) atCall(pid int) {
	entry, c, err := callOf(pid)
	if err != nil {
		return
	}
	if !entry {
		if t.failing[pid] {
			delete(t.failing, pid)
			_ = failed(pid, t.strike.errno)
		}
		return
	}
	t.begun = t.begun || c.nr == unix.SYS_READ && c.args[0] == 0
	if !t.begun || !t.strike.counts(c) {
		return
	}
	t.out.calls = append(t.out.calls, c.String())
	if !t.strike.hits(len(t.out.calls)) {
		return
	}
	t.out.struck = append(t.out.struck, c.String())
	if t.strike.errno == 0 && t.strike.maker {
		_ = unix.Kill(pid, unix.SIGKILL)
	} else if t.strike.errno == 0 {
		_ = unix.Kill(t.root, unix.SIGKILL)
	} else if c.nr == unix.SYS_CLOSE || fail(pid) == nil { // close lets go of the file whatever it returns
		t.failing[pid] = true
	}
}

// callOf says at which call a thread has stopped, and whether at its beginning.
func callOf(pid int) (entry bool, c call, err error) {
	const getSyscallInfo, opEntry = 0x420e, 1
	var info [88]byte
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, getSyscallInfo, uintptr(pid), uintptr(len(info)), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 {
		return false, c, errno
	}
	c.pid = pid
	if info[0] == opEntry {
		c.nr = binary.NativeEndian.Uint64(info[24:])
		for i := range c.args {
			c.args[i] = binary.NativeEndian.Uint64(info[32+8*i:])
		}
	}
	return info[0] == opEntry, c, nil
}
