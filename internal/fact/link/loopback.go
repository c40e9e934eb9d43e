package link

import (
	"errors"
	"io/fs"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact/addr"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// Loopback is the pod's loopback interface being up.
type Loopback struct {
	Name  string
	Owner name.Attachment
}

func (l Loopback) String() string { return "up   pod " + l.Name }

func (l Loopback) Add(k *kernel.Kernel) error {
	i, err := k.Link(kernel.Pod, l.Name)
	if err != nil || i.Up() {
		return err
	}
	return k.SetUp(kernel.Pod, i, kernel.Alias(l.Owner.Alias()))
}

// Del takes it down, as it was in the new namespace, and as runtimes that keep
// the namespace know it. But it stays up where its alias does not say that it was
// brought up for the attachment, and while somebody else uses the namespace,
// which another interface that is up shows, or an address on this one that is
// not the kernel's.
func (l Loopback) Del(k *kernel.Kernel) error {
	if !k.Has(kernel.Pod) {
		return nil
	}
	i, err := k.Link(kernel.Pod, l.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the pod has renamed it
	}
	if err != nil || !k.Owned(i) || i.Alias != l.Owner.Alias() {
		return err
	}
	used, err := l.usedByOthers(k)
	if err != nil || used {
		return err
	}
	return k.SetLink(kernel.Pod, i, 0, unix.IFF_UP, kernel.Alias(""))
}

func (l Loopback) usedByOthers(k *kernel.Kernel) (bool, error) {
	links, err := k.Links(kernel.Pod)
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(links, func(o *kernel.Link) bool { return o.Name != l.Name && o.Up() }) {
		return true, nil
	}
	have, err := addr.List(k, kernel.Pod, l.Name)
	return slices.ContainsFunc(have, func(p netip.Prefix) bool { return !p.Addr().IsLoopback() }), err
}

func (l Loopback) Check(k *kernel.Kernel) error {
	i, err := k.Link(kernel.Pod, l.Name)
	return isUp(i, err)
}
