package sysctl

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// Forwarding is that the host forwards packets between its interfaces. It stays on
// when the last pod is gone: others need it too.
type Forwarding struct {
	fact.Stays
	Six bool
}

func (f Forwarding) setting() Setting {
	key := "net/ipv4/ip_forward"
	if f.Six {
		key = "net/ipv6/conf/all/forwarding"
	}
	return Setting{Side: kernel.Host, Pairs: Pairs{{key, "1"}}}
}

func (f Forwarding) String() string { return f.setting().String() }

// Add turns it on. A host that forwards IPv6 ignores router advertisements on its
// uplinks, unless their interfaces are told to accept them all the same.
func (f Forwarding) Add(k *kernel.Kernel) error {
	if !f.Six || f.Check(k) == nil {
		return f.setting().Add(k)
	}
	return errors.Join(keepListening(), f.setting().Add(k))
}

// keepListening lets the interfaces that accept router advertisements accept
// them from a host that forwards too (accept_ra=2 in ip-sysctl).
func keepListening() error {
	interfaces, err := os.ReadDir("/proc/sys/net/ipv6/conf")
	return errors.Join(err, fact.ForEach(interfaces, func(i fs.DirEntry) error {
		key := filepath.Join("net/ipv6/conf", i.Name(), "accept_ra")
		if now, err := Read(key); err != nil || now != "1" || slices.Contains([]string{"all", "default", "lo"}, i.Name()) {
			return nil
		}
		return kernel.Gone(Write(key, "2"))
	}))
}

func (f Forwarding) Check(k *kernel.Kernel) error { return f.setting().Check(k) }
