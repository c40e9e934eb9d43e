package link

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
)

// Loopback is the pod's loopback interface being up. It is the namespace's: Del
// takes it down, as runtimes know it, but only where the namespace is there.
type Loopback struct{ Name string }

func (l Loopback) String() string { return "up   pod " + l.Name }

// Add brings it up.
func (l Loopback) Add(k *kernel.Kernel) error {
	i, err := k.Link(kernel.Pod, l.Name)
	if err != nil || i.Up() {
		return err
	}
	return k.SetUp(kernel.Pod, i)
}

// Del takes it down.
func (l Loopback) Del(k *kernel.Kernel) error {
	if !k.Has(kernel.Pod) {
		return nil
	}
	i, err := k.Link(kernel.Pod, l.Name)
	if err != nil {
		return err
	}
	return k.SetLink(kernel.Pod, i, 0, unix.IFF_UP)
}

// Check looks whether it is up.
func (l Loopback) Check(k *kernel.Kernel) error {
	i, err := k.Link(kernel.Pod, l.Name)
	if err == nil && !i.Up() {
		err = errors.New("it is down")
	}
	return err
}
