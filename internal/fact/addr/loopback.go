package addr

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/sysctl"
	"github.com/catena-cni/catena/internal/kernel"
)

// Loopback is an address that the kernel gives a loopback interface when that
// comes up, and takes when it goes down.
type Loopback struct {
	fact.Stays
	Link   string
	Prefix netip.Prefix
}

func (l Loopback) addr() Addr { return Addr{Side: kernel.Pod, Link: l.Link, Prefix: l.Prefix} }

func (l Loopback) String() string {
	return fmt.Sprintf("addr pod %s %v by the kernel", l.Link, l.Prefix)
}

// Add gives the address where the kernel has not. A pod without IPv6 does
// without.
func (l Loopback) Add(k *kernel.Kernel) error {
	if l.There(k) || l.without(k) {
		return nil
	}
	if err := l.addr().Add(k); !errors.Is(err, fs.ErrExist) { // it is the kernel's, where the look at it failed
		return err
	}
	return nil
}

// There reports whether the interface has the address.
func (l Loopback) There(k *kernel.Kernel) bool { return l.addr().Check(k) == nil }

// without reports whether the pod has no IPv6.
func (l Loopback) without(k *kernel.Kernel) bool {
	if l.Prefix.Addr().Is4() {
		return false
	}
	off := true
	_ = k.Do(kernel.Pod, func() error {
		value, err := sysctl.Read("net/ipv6/conf/" + l.Link + "/disable_ipv6")
		off = err != nil || value != "0"
		return nil
	})
	return off
}

func (l Loopback) Check(k *kernel.Kernel) error {
	err := l.addr().Check(k)
	if err != nil && l.without(k) {
		return nil
	}
	return err
}
