// Package kernel is one call's view of the kernel: rtnetlink in the host's
// network namespace and in the pod's, and what is known of the links on both
// sides.
//
// A thread is moved into the pod's namespace for as long as it takes to open
// sockets there, and by Do, which is for what has no socket: the files under
// /proc/sys, ioctls and packets.
package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Side says in which of the two namespaces a thing lives.
type Side int

// The two sides of an attachment.
const (
	Host Side = iota
	Pod
)

func (s Side) String() string { return [...]string{"host", "pod"}[s] }

// Kernel is one call's view of the kernel. The pod's side is absent where the
// namespace is gone: then everything in it is gone with it.
type Kernel struct {
	pod        *os.File // the pod's namespace, or nil
	podID      NetnsID
	podPath    string
	rtnetlinks [2]*rtnetlink
	links      [2]map[string]*Link
	netfilter  interface{ Close() } // see Netfilter
	verify     func(*Link) bool     // see Verify
	owned      map[int]bool         // what verify has said, by the links' indexes
}

// OpenHost is Open for what happens on the host's side alone. The path of the
// pod's namespace is only remembered.
func OpenHost(path string) *Kernel {
	k := &Kernel{podPath: path}
	k.Renew()
	return k
}

// Open opens the pod's namespace at path. An empty path, or one where nothing
// is, leaves the pod's side out. Sockets are opened when they are first needed.
func Open(path string) (k *Kernel, err error) {
	k = OpenHost(path)
	if path == "" {
		return k, nil
	}
	k.pod, k.podID, err = openNetns(path)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	return k, err
}

// Close closes what is open.
func (k *Kernel) Close() {
	k.Renew()
	if k.pod != nil {
		k.pod.Close()
	}
}

// Netfilter is the call's netfilter socket in the host's namespace, which the
// first who asks opens: every fact of a call speaks over it.
func Netfilter[C interface{ Close() }](k *Kernel, open func() (C, error)) (c C, err error) {
	if c, is := k.netfilter.(C); is {
		return c, nil
	}
	if c, err = open(); err == nil {
		k.netfilter = c
	}
	return c, err
}

// Has reports whether the side's namespace is there.
func (k *Kernel) Has(s Side) bool { return s == Host || k.pod != nil }

// PodPath is the path by which the pod's namespace was named.
func (k *Kernel) PodPath() string { return k.podPath }

// PodFD is the descriptor of the pod's namespace.
func (k *Kernel) PodFD() int { return int(k.pod.Fd()) }

// OpenHostNetns opens the host's namespace: the one that the calling thread is in.
func OpenHostNetns() (*os.File, error) {
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("open the host's network namespace: %w", err)
	}
	return own, nil
}

// ErrNoPod says that the pod's network namespace is not there.
var ErrNoPod = fmt.Errorf("the pod's network namespace is gone: %w", fs.ErrNotExist)

// Do runs f inside the side's namespace. For the pod's it is on a goroutine of
// its own: a thread that the kernel does not let back ends with that goroutine,
// and nobody else ever runs on it.
func (k *Kernel) Do(s Side, f func() error) (err error) {
	if s == Host {
		return f()
	}
	if !k.Has(Pod) {
		return ErrNoPod
	}
	var fault any
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { fault = recover() }()
		err = k.inPod(f)
	}()
	<-done
	if fault != nil {
		panic(fault)
	}
	return err
}

// inPod runs f inside the pod's namespace. The thread is unlocked where it is
// back in the host's, and nowhere else.
func (k *Kernel) inPod(f func() error) error {
	runtime.LockOSThread()
	host, err := OpenHostNetns()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer host.Close()
	if err := unix.Setns(k.PodFD(), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter the pod's network namespace: %w", err)
	}
	err = f()
	if back := unix.Setns(int(host.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, fmt.Errorf("the way back from the pod's network namespace is closed: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}
