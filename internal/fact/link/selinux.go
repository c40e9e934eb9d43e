package link

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/retry"
)

// A tap device has the SELinux label of the thread that makes it, and a thread
// of a process that has several may not change its label. A new process can be
// started under another one (setexeccon(3)). So the plugin starts its own
// program, which does one ioctl on the open file that it inherits and ends. The
// file, and with it the device, stays open here.

// tapChild is the argument that tells such a process what it is. No person
// types it, and no runtime passes arguments.
const tapChild = "tap-child"

// selinux reports whether the host has SELinux.
func selinux() bool {
	var st unix.Statfs_t
	return retry.Do(func() error { return unix.Statfs("/sys/fs/selinux", &st) }) == nil && uint32(st.Type) == unix.SELINUX_MAGIC
}

// labelled runs f on a thread whose children are started under a label. A
// thread that keeps the label is left locked, so that it ends with its
// goroutine and starts nobody else.
func labelled(label string, f func() error) error {
	const attribute = "/proc/thread-self/attr/exec"
	runtime.LockOSThread()
	if err := os.WriteFile(attribute, []byte(label), 0); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("selinuxContext %s: %w", label, err)
	}
	err := f()
	if os.WriteFile(attribute, []byte{0}, 0) == nil {
		runtime.UnlockOSThread()
	}
	return err
}

// inChild is setIff in a process of its own.
func inChild(tun *os.File, link string, flags uint16) error {
	p, err := os.StartProcess("/proc/self/exe", []string{"catena", tapChild, link, strconv.Itoa(int(flags))},
		&os.ProcAttr{Files: []*os.File{nil, nil, os.Stderr, tun}})
	if err != nil {
		return fmt.Errorf("start a process under another SELinux label: %w", err)
	}
	state, err := p.Wait()
	switch {
	case err != nil:
		return err
	case !state.Exited():
		return fmt.Errorf("the process under another SELinux label ended with %v", state)
	case !state.Success():
		return fmt.Errorf("TUNSETIFF under another SELinux label: %w", unix.Errno(state.ExitCode()))
	}
	return nil
}

// TapChild does the child's work and ends the process, where the process is
// one. Its exit code is the errno.
func TapChild() {
	if len(os.Args) != 4 || os.Args[1] != tapChild {
		return
	}
	flags, _ := strconv.ParseUint(os.Args[3], 10, 16)
	_, err := setIff(os.NewFile(3, "/dev/net/tun"), os.Args[2], uint16(flags), "") // the first file behind the standard ones
	var errno unix.Errno
	if err != nil && !errors.As(err, &errno) {
		errno = unix.EINVAL
	}
	os.Exit(int(errno))
}
