package kerneltest

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Interrupted runs do, whose thread gets a signal whenever it sleeps in a system
// call (unix.SYS_*). The signal is the one that the Go runtime sends to its own
// threads. When it sleeps there after the third, then is called, which is to
// give do what it waits for.
func Interrupted(t testing.TB, call int, do, then func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thread, done, gone := unix.Gettid(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		last := ""
		for i := range 4 {
			for {
				now, asleep := sleeps(thread, call)
				if asleep && now != last {
					last = now
					break
				}
				select {
				case <-done:
					t.Errorf("it sleeps %d times in the system call %d, and does not go back to it", i, call)
					return
				case <-time.After(time.Millisecond):
				}
			}
			if i == 3 {
				then()
			} else if err := unix.Tgkill(os.Getpid(), thread, unix.SIGURG); err != nil {
				t.Error(err)
			}
		}
	}()
	do()
	close(done)
	<-gone
}

// sleeps reports whether a thread of this process sleeps in a system call, and
// tells one sleep from another.
func sleeps(thread, call int) (which string, asleep bool) {
	task := fmt.Sprintf("/proc/self/task/%d/", thread)
	status, err := os.ReadFile(task + "status")
	in, serr := os.ReadFile(task + "syscall")
	if err != nil || serr != nil || !strings.HasPrefix(string(in), fmt.Sprint(call, " ")) {
		return "", false
	}
	_, which, _ = strings.Cut(string(status), "voluntary_ctxt_switches:")
	which, _, _ = strings.Cut(which, "\n")
	return which, true
}
