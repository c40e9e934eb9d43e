package kernel

import (
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/retry"
)

// Doubt says that the path of the pod's namespace may lead to another pod's by
// now, as it may for DEL: the pod has ended, and the number of its process is
// another's. What is there is taken away only where ours says that the link is
// provably the attachment's.
func (k *Kernel) Doubt(ours func(*Link) bool) {
	k.proven = map[int]bool{}
	k.ours = func(l *Link) bool {
		is, asked := k.proven[l.Index]
		if !asked {
			is = ours(l)
			k.proven[l.Index] = is
		}
		return is
	}
}

// Prove says that a link of the pod's is the attachment's, by what only a fact
// knows.
func (k *Kernel) Prove(l *Link) {
	if k.proven != nil {
		k.proven[l.Index] = true
	}
}

// Certain reports whether the pod's namespace is the attachment's beyond doubt.
func (k *Kernel) Certain() bool { return k.ours == nil }

// Ours reports whether a link of the pod's namespace is the attachment's, to be
// deleted, moved or made again what it was.
func (k *Kernel) Ours(l *Link) bool { return k.ours == nil || k.ours(l) }

// PodID tells one pod's namespace from every other. A number of an inode is
// given again as soon as it is free, a cookie is not; kernels before 5.14 have
// none.
type PodID struct {
	NetnsID NetnsID `json:"netnsID"`
	Cookie  uint64  `json:"netnsCookie,omitempty"`
}

// PodID is that of the namespace that is open, the zero value where none is.
func (k *Kernel) PodID() (id PodID) {
	var st unix.Stat_t
	if !k.Has(Pod) || retry.Do(func() error { return unix.Fstat(k.pod, &st) }) != nil {
		return id
	}
	id.NetnsID = NetnsID{Dev: uint64(st.Dev), Ino: st.Ino}
	if r, err := k.rtnetlink(Pod); err == nil {
		// Kernels before 5.14 do not say it.
		id.Cookie, _ = unix.GetsockoptUint64(r.raw.Socket.GetFd(), unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	}
	return id
}

// Is reports whether two are of one namespace, as far as both say.
func (id PodID) Is(other PodID) bool {
	return id.NetnsID == other.NetnsID && (id.Cookie == other.Cookie || id.Cookie == 0 || other.Cookie == 0)
}
