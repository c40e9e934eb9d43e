// Package sysctl is the facts about the network settings under /proc/sys.
package sysctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// Setting is a value that a key has. It is shared with others, or dies with
// its interface: Del does nothing.
type Setting struct {
	fact.Stays
	Side kernel.Side
	Pairs
	// Optional leaves out keys that this kernel does not have, or that cannot be
	// written because /proc/sys is read-only.
	Optional bool
}

// Pairs are keys, written with slashes below /proc/sys, and their values.
type Pairs []Pair

// Pair is one key and its value.
type Pair struct{ Key, Value string }

func (s Setting) String() string {
	return fact.Text("sysctl", s.Side.String(), fact.Words("", s.Pairs))
}

func (p Pair) String() string { return p.Key + "=" + p.Value }

func (s Setting) Idle() bool { return len(s.Pairs) == 0 }

// Add writes only what differs, so it needs no write access where all is as it
// should be.
func (s Setting) Add(k *kernel.Kernel) error {
	return k.Do(s.Side, func() error {
		for _, p := range s.Pairs {
			if err := Write(p.Key, p.Value); err != nil && !s.tolerates(err) {
				return err
			}
		}
		return nil
	})
}

func (s Setting) tolerates(err error) bool {
	return s.Optional && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || ReadOnly(err))
}

// ReadOnly reports whether a write failed because /proc/sys is mounted
// read-only, as in a container.
func ReadOnly(err error) bool { return errors.Is(err, unix.EROFS) }

func (s Setting) Check(k *kernel.Kernel) error {
	if s.Optional {
		return nil
	}
	return k.Do(s.Side, func() error {
		for _, p := range s.Pairs {
			have, err := Read(p.Key)
			if errors.Is(err, fs.ErrPermission) {
				continue // it is for writing alone, as net/ipv4/route/flush
			}
			if err != nil {
				return err
			}
			if !Same(have, p.Value) {
				return fmt.Errorf("%s is %s", p.Key, have)
			}
		}
		return nil
	})
}

// TowardsPods is the settings of a host's link that leads to pods, before it comes
// up. The host accepts no router advertisements there, by which a pod could change
// the host's routes (CVE-2020-10749). The host's link-local address is used at
// once, without DAD: without one, the host cannot ask for a pod's neighbour entry.
// A kernel without IPv6 has none of these settings.
func TowardsPods(link string) Setting {
	own := "net/ipv6/conf/" + link
	return Setting{Side: kernel.Host, Pairs: Pairs{{own + "/accept_ra", "0"}, {own + "/accept_dad", "0"}}, Optional: true}
}

// IsNet reports whether a key, written with slashes, is below net: all others are
// the whole machine's.
func IsNet(key string) bool {
	return strings.HasPrefix(key, "net/") && filepath.Clean(key) == key && !strings.ContainsRune(key, 0)
}

// path contains a key below /proc/sys/net.
func path(key string) (string, error) {
	if !IsNet(key) {
		return "", fmt.Errorf("sysctl %q is not below net: %w", key, fs.ErrInvalid)
	}
	return "/proc/sys/" + key, nil
}

// Read gives a key's value as the calling thread's namespaces have it, without
// the line's end.
func Read(key string) (string, error) {
	at, err := path(key)
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(at)
	if err != nil {
		return "", fmt.Errorf("sysctl: %w", err)
	}
	return strings.TrimRight(string(b), "\n"), nil
}

// Write gives a key a value where it has another.
func Write(key, value string) error {
	if have, err := Read(key); err == nil && Same(have, value) {
		return nil
	}
	at, err := path(key)
	if err != nil {
		return err
	}
	// With the line's end, an empty value is written too.
	f, err := os.OpenFile(at, os.O_WRONLY, 0) // os.WriteFile would make one that is missing
	if err == nil {
		_, err = f.WriteString(value + "\n")
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("sysctl %s=%s: %w", key, value, err)
	}
	return nil
}

// Same compares two values as the kernel reads them: the blanks between the
// numbers of a list do not matter.
func Same(a, b string) bool {
	return strings.Join(strings.Fields(a), " ") == strings.Join(strings.Fields(b), " ")
}

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
		if slices.Contains([]string{"all", "default", "lo"}, i.Name()) {
			return nil
		}
		key := filepath.Join("net/ipv6/conf", i.Name(), "accept_ra")
		if now, err := Read(key); err != nil || now != "1" {
			return nil
		}
		return kernel.Gone(Write(key, "2"))
	}))
}

func (f Forwarding) Check(k *kernel.Kernel) error { return f.setting().Check(k) }
