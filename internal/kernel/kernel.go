// Package kernel holds the open doors to the kernel that one call of a plugin
// needs: an rtnetlink socket in the host's network namespace and one in the
// pod's, and what is known of the links on both sides.
//
// A thread is moved into the pod's namespace for as long as it takes to open
// the socket, and by Do, which is for what has no socket: the files under
// /proc/sys, ioctls and packets.
package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/netlink"
	"github.com/catena-cni/catena/internal/retry"
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
	pod        int // descriptor of the pod's namespace, or none
	podPath    string
	conns      [2]*netlink.Conn
	rtnetlinks [2]*rtnetlink
	links      [2]map[string]*Link
	raised     [2]map[string]*Link // as they were before they came up
	ours       func(*Link) bool    // see Doubt
	proven     map[int]bool        // what it has said, by the links' numbers
}

const none = -1

// OpenHost is Open for what happens on the host's side alone. The path of the
// pod's namespace is only remembered.
func OpenHost(path string) *Kernel {
	k := &Kernel{pod: none, podPath: path}
	for s := range k.links {
		k.links[s], k.raised[s] = map[string]*Link{}, map[string]*Link{}
	}
	return k
}

// Open opens the pod's namespace at path. An empty path, or one where nothing
// is, leaves the pod's side out. Sockets are opened when they are first needed.
func Open(path string) (*Kernel, error) {
	k := OpenHost(path)
	if path == "" {
		return k, nil
	}
	fd, err := openNetns(path)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	k.pod = fd
	return k, err
}

// nsMagic is the type that statfs gives for a namespace file (linux/magic.h).
const nsMagic = 0x6e736673

// openNetns opens the network namespace at path and refuses every other file:
// setns on a wrong one would say no more than "invalid argument".
func openNetns(path string) (int, error) {
	fd, err := retry.Call(func() (int, error) {
		return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	})
	if err != nil {
		return none, fmt.Errorf("network namespace %s: %w", path, err)
	}
	var st unix.Statfs_t
	if err := retry.Do(func() error { return unix.Fstatfs(fd, &st) }); err != nil || st.Type != nsMagic {
		unix.Close(fd)
		return none, fmt.Errorf("network namespace %s: it is a file, but no namespace is mounted on it", path)
	}
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err == nil && kind != unix.CLONE_NEWNET {
		unix.Close(fd)
		return none, fmt.Errorf("network namespace %s: it is a namespace of another kind", path)
	}
	return fd, nil
}

// Close closes every door.
func (k *Kernel) Close() {
	for _, c := range k.conns {
		if c != nil {
			c.Close()
		}
	}
	for _, r := range k.rtnetlinks {
		if r != nil {
			r.close()
		}
	}
	if k.pod != none {
		unix.Close(k.pod)
	}
}

// Has reports whether the side's namespace is there.
func (k *Kernel) Has(s Side) bool { return s == Host || k.pod != none }

// ErrNoPod says that the pod's network namespace is not there.
var ErrNoPod error = noPod{}

type noPod struct{}

func (noPod) Error() string { return "the pod's network namespace is gone: file does not exist" }
func (noPod) Unwrap() error { return fs.ErrNotExist }

// Conn is the side's rtnetlink socket.
func (k *Kernel) Conn(s Side) (*netlink.Conn, error) {
	if c := k.conns[s]; c != nil {
		return c, nil
	}
	c, err := k.Dial(s)
	if err != nil {
		return nil, err
	}
	k.conns[s] = c
	return c, nil
}

// Dial opens another rtnetlink socket on a side, such as one that receives the
// events of the groups (unix.RTNLGRP_*).
func (k *Kernel) Dial(s Side, groups ...int) (c *netlink.Conn, err error) {
	err = k.Do(s, func() (err error) {
		c, err = netlink.Dial(unix.NETLINK_ROUTE, groups...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%v: %w", s, err)
	}
	return c, nil
}

// PodFD is the descriptor of the pod's namespace.
func (k *Kernel) PodFD() int { return k.pod }

// HostFD opens the host's namespace: the one that this process runs in.
func (k *Kernel) HostFD() (int, error) { return openOwn() }

// openOwn opens the namespace that the calling thread is in.
func openOwn() (int, error) {
	fd, err := retry.Call(func() (int, error) { return unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return none, fmt.Errorf("open the host's network namespace: %w", err)
	}
	return fd, nil
}

// PodPath is the path by which the pod's namespace was named.
func (k *Kernel) PodPath() string { return k.podPath }

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
// home again, and nowhere else.
func (k *Kernel) inPod(f func() error) error {
	runtime.LockOSThread()
	home, err := openOwn()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer unix.Close(home)
	if err := unix.Setns(k.pod, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter the pod's network namespace: %w", err)
	}
	err = f()
	if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, fmt.Errorf("the way back from the pod's network namespace is closed: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}
