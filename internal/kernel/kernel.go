// Package kernel holds the open doors to the kernel that one call of a plugin
// needs: a netlink handle in the host's network namespace and one in the pod's.
//
// Nothing here switches the calling thread's namespace except Do, which alone
// is needed for what has no socket: the files under /proc/sys and ioctls.
package kernel

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
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
	pod     netns.NsHandle
	podPath string
	handles [2]*netlink.Handle
	links   [2]map[string]netlink.Link
}

// Open opens the pod's namespace at path. An empty path, or one where nothing
// is, leaves the pod's side out. Sockets are opened when they are first needed.
func Open(path string) (*Kernel, error) {
	k := &Kernel{pod: netns.None(), podPath: path}
	for s := range k.links {
		k.links[s] = map[string]netlink.Link{}
	}
	if path == "" {
		return k, nil
	}
	pod, err := openNetns(path)
	if errors.Is(err, os.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return nil, err
	}
	k.pod = pod
	return k, nil
}

// nsMagic is the type that statfs gives for a namespace file (linux/magic.h).
const nsMagic = 0x6e736673

// openNetns opens the network namespace at path and refuses every other file:
// setns on a wrong one would say no more than "invalid argument".
func openNetns(path string) (netns.NsHandle, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return netns.None(), fmt.Errorf("network namespace %s: %w", path, err)
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil || st.Type != nsMagic {
		unix.Close(fd)
		return netns.None(), fmt.Errorf("network namespace %s: it is a file, but no namespace is mounted on it", path)
	}
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err == nil && kind != unix.CLONE_NEWNET {
		unix.Close(fd)
		return netns.None(), fmt.Errorf("network namespace %s: it is a namespace of another kind", path)
	}
	return netns.NsHandle(fd), nil
}

// Close closes every handle.
func (k *Kernel) Close() {
	for _, h := range k.handles {
		if h != nil {
			h.Close()
		}
	}
	if k.pod.IsOpen() {
		_ = k.pod.Close()
	}
}

// Has reports whether the side's namespace is there.
func (k *Kernel) Has(s Side) bool { return s == Host || k.pod.IsOpen() }

// ErrNoPod says that the pod's network namespace is not there.
var ErrNoPod = fmt.Errorf("the pod's network namespace is gone: %w", os.ErrNotExist)

// NL is the side's rtnetlink handle.
func (k *Kernel) NL(s Side) (*netlink.Handle, error) {
	if h := k.handles[s]; h != nil {
		return h, nil
	}
	h, err := k.dial(s)
	if err != nil {
		return nil, fmt.Errorf("netlink socket of the %v: %w", s, err)
	}
	k.handles[s] = h
	return h, nil
}

func (k *Kernel) dial(s Side) (*netlink.Handle, error) {
	if s == Host {
		return netlink.NewHandle(unix.NETLINK_ROUTE)
	}
	if !k.Has(Pod) {
		return nil, ErrNoPod
	}
	return netlink.NewHandleAt(k.pod, unix.NETLINK_ROUTE)
}

// PodFD is the descriptor of the pod's namespace.
func (k *Kernel) PodFD() int { return int(k.pod) }

// PodPath is the path by which the pod's namespace was named.
func (k *Kernel) PodPath() string { return k.podPath }

// Link finds a link by name and remembers it for this call. A missing one is
// os.ErrNotExist.
func (k *Kernel) Link(s Side, name string) (netlink.Link, error) {
	if l := k.links[s][name]; l != nil {
		return l, nil
	}
	h, err := k.NL(s)
	if err != nil {
		return nil, err
	}
	l, err := h.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("link %s: %w", name, Cause(err))
	}
	k.links[s][name] = l
	return l, nil
}

// Forget drops what is remembered of a link that has changed or gone.
func (k *Kernel) Forget(s Side, name string) { delete(k.links[s], name) }

// Cause gives a netlink error the meaning that errors.Is knows: what says that
// there is no such thing is os.ErrNotExist.
func Cause(err error) error {
	var missing netlink.LinkNotFoundError
	switch {
	case errors.As(err, &missing), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("there is none: %w", os.ErrNotExist)
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("this kernel does not support it: %w", err)
	}
	return err
}

// Do runs f on a thread inside the side's namespace, for what has no socket:
// /proc/sys and ioctl. A thread that cannot be brought back is left locked, so
// the runtime ends it with the goroutine.
func (k *Kernel) Do(s Side, f func() error) error {
	if s == Host {
		return f()
	}
	if !k.Has(Pod) {
		return ErrNoPod
	}
	done := make(chan error, 1)
	go func() { done <- inside(k.pod, f) }()
	return <-done
}

func inside(ns netns.NsHandle, f func() error) error {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		return fmt.Errorf("open the thread's own network namespace: %w", err)
	}
	defer home.Close()
	if err := netns.Set(ns); err != nil {
		return fmt.Errorf("enter the pod's network namespace: %w", err)
	}
	err = f()
	if netns.Set(home) == nil {
		runtime.UnlockOSThread()
	}
	return err
}
