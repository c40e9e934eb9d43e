package kernel

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/retry"
)

// lockWait bounds the wait for another plugin in the same pod, which holds the
// lock for milliseconds.
const lockWait = 10 * time.Second

// LockPod keeps other plugins from choosing in the pod's namespace what this
// one is choosing, such as a routing table, until unlock is called. It is the
// lock (flock) that upstream's sbr takes on the file of the namespace. A pod can
// hold it too, so the wait has an end, which is os.ErrDeadlineExceeded.
func (k *Kernel) LockPod() (unlock func(), err error) {
	if !k.Has(Pod) {
		return nil, ErrNoPod
	}
	// A lock belongs to an open file, so each caller needs one of its own.
	fd, err := retry.Call(func() (int, error) {
		return unix.Open(fmt.Sprintf("/proc/self/fd/%d", k.pod), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, fmt.Errorf("lock the pod's network namespace: %w", err)
	}
	locked := make(chan error, 1)
	go func() { locked <- flock(fd) }()
	select {
	case err = <-locked:
	case <-time.After(lockWait):
		go func() { <-locked; unix.Close(fd) }()
		return nil, fmt.Errorf("another program has locked the pod's network namespace for %v: %w", lockWait, os.ErrDeadlineExceeded)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("lock the pod's network namespace: %w", err)
	}
	return func() { unix.Close(fd) }, nil
}

func flock(fd int) error { return retry.Do(func() error { return unix.Flock(fd, unix.LOCK_EX) }) }
