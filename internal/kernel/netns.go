package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/retry"
)

// openNetns opens the network namespace at path and refuses every other file:
// setns on a wrong one would say no more than "invalid argument". A FIFO, which
// nobody may ever write to, is not waited for.
func openNetns(path string) (*os.File, NetnsID, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, NetnsID{}, fmt.Errorf("network namespace %s: %w", path, errors.Unwrap(err))
	}
	var on unix.Statfs_t
	var st unix.Stat_t
	err = retry.Do(func() error { return unix.Fstatfs(int(f.Fd()), &on) })
	if err == nil {
		err = retry.Do(func() error { return unix.Fstat(int(f.Fd()), &st) })
	}
	if err == nil && on.Type != unix.NSFS_MAGIC {
		err = errNoNamespace
	} else if kind, kerr := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE); err == nil && kerr == nil && kind != unix.CLONE_NEWNET {
		err = errOtherKind
	}
	if err != nil {
		f.Close()
		return nil, NetnsID{}, fmt.Errorf("network namespace %s: %w", path, err)
	}
	return f, idOf(st), nil
}

var (
	errNoNamespace = errors.New("it is a file, but no namespace is mounted on it")
	errOtherKind   = errors.New("it is a namespace of another kind")
)

// NoNetns reports whether Open's error says that at the path there is provably no
// network namespace, or none that anybody can open (open(2)).
func NoNetns(err error) bool {
	return IsAny(err, errNoNamespace, errOtherKind, unix.ENOTDIR, unix.ELOOP, unix.ENAMETOOLONG, unix.ENXIO, unix.ENODEV,
		unix.EACCES, unix.EINVAL, unix.ESTALE, unix.ENOTCONN)
}

func idOf(st unix.Stat_t) NetnsID { return NetnsID{Dev: uint64(st.Dev), Ino: st.Ino} }

// NetnsID tells one network namespace from every other of this boot: the
// device and inode of its file (namespaces(7)). The zero value is no namespace.
type NetnsID struct {
	Dev, Ino uint64
}

func (id NetnsID) String() string { return fmt.Sprintf("%d:%d", id.Dev, id.Ino) }

// Netns identifies the network namespace at path. Where none is, whatever the
// reason, the zero value is returned.
func Netns(path string) NetnsID {
	id, _ := LookNetns(path)
	return id
}

// LookNetns is Netns with the reason: nothing is at the path, or nothing is
// mounted there, which is the zero value, or it could not be looked at.
func LookNetns(path string) (NetnsID, error) {
	var fs unix.Statfs_t
	var st unix.Stat_t
	err := retry.Do(func() error { return unix.Statfs(path, &fs) })
	if err == nil {
		err = retry.Do(func() error { return unix.Stat(path, &st) })
	}
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), err == nil && fs.Type != unix.NSFS_MAGIC:
		return NetnsID{}, nil
	case err != nil:
		return NetnsID{}, fmt.Errorf("network namespace %s: %w", path, err)
	}
	return idOf(st), nil
}

// OwnNetns reports whether path is the namespace that this process runs in.
func OwnNetns(path string) bool {
	id := Netns(path)
	return id != NetnsID{} && id == Netns("/proc/thread-self/ns/net")
}

// PodID tells one pod's namespace from every other. A number of an inode is
// given again as soon as it is free, a cookie is not; kernels before 5.14 have
// none.
type PodID struct {
	NetnsID NetnsID `json:"netnsID"`
	Cookie  uint64  `json:"netnsCookie,omitempty"`
}

// PodID is that of the namespace that is open, the zero value where none is.
func (k *Kernel) PodID() (id PodID) {
	if !k.Has(Pod) {
		return id
	}
	id.NetnsID = k.podID
	if r, err := k.rtnetlink(Pod); err == nil {
		id.Cookie, _ = unix.GetsockoptUint64(r.raw.Socket.GetFd(), unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	}
	return id
}

// Is reports whether two are of one namespace, as far as both say.
func (id PodID) Is(other PodID) bool {
	return id.NetnsID == other.NetnsID && (id.Cookie == other.Cookie || id.Cookie == 0 || other.Cookie == 0)
}

// NetnsRef is a pod's namespace in a record: the path that it was named by, and
// the namespace that was there.
type NetnsRef struct {
	Netns string `json:"netns"`
	PodID
}

// NetnsRef refers to the namespace at the path of this call's pod. It opens
// nothing, so it has no cookie.
func (k *Kernel) NetnsRef() NetnsRef { return NetnsRef{k.podPath, PodID{NetnsID: Netns(k.podPath)}} }

// Abandoned reports whether the pod is provably gone: its namespace is not at
// its path any more. Where none was seen when the record was written, nothing is
// proved by what is there now.
func (r NetnsRef) Abandoned() bool {
	now, err := LookNetns(r.Netns)
	return r.Netns != "" && r.NetnsID != NetnsID{} && err == nil && now != r.NetnsID
}

// Attached reports whether an attachment for which a record was written is
// attached: its pod is there, is this call's, and has its interface. An ADD that did
// not come to its end may have left the one without the other.
func (k *Kernel) Attached(r NetnsRef, ifName string) bool {
	if r.NetnsID != Netns(k.podPath) || r.Abandoned() {
		return false
	}
	_, err := k.Link(Pod, ifName)
	return !errors.Is(err, fs.ErrNotExist) || !k.Has(Pod)
}

// BootID is the kernel's name for the time since it was started. What was
// recorded under another one describes a kernel that is gone.
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

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
	own, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", k.PodFD()))
	if err != nil {
		return nil, fmt.Errorf("lock the pod's network namespace: %w", err)
	}
	locked := make(chan error, 1)
	go func() { locked <- retry.Do(func() error { return unix.Flock(int(own.Fd()), unix.LOCK_EX) }) }()
	select {
	case err = <-locked:
	case <-time.After(lockWait):
		go func() { <-locked; own.Close() }()
		return nil, fmt.Errorf("another program has locked the pod's network namespace for %v: %w", lockWait, os.ErrDeadlineExceeded)
	}
	if err != nil {
		own.Close()
		return nil, fmt.Errorf("lock the pod's network namespace: %w", err)
	}
	return func() { own.Close() }, nil
}
