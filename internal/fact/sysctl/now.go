package sysctl

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
)

// Order sorts keys so that a setting of all interfaces comes before those of one:
// to write net/ipv4/ip_forward sets net/ipv4/conf/eth0/forwarding too.
func (p Pairs) Order() {
	slices.SortFunc(p, func(a, b Pair) int {
		return cmp.Or(cmp.Compare(strings.Count(a.Key, "/"), strings.Count(b.Key, "/")), cmp.Compare(a.Key, b.Key))
	})
}

// Now gives the values that keys have in the pod, and those of the keys that
// change along with them, in the order in which they can be put back. It leaves
// out keys that can only be written, and those without a value. A key that is not
// there, or that the pod may not write, or whose value cannot be read, is an error:
// the value would be lost.
func (p Pairs) Now(k *kernel.Kernel) (now Pairs, err error) {
	err = k.Do(kernel.Pod, func() error {
		seen := map[string]bool{}
		for _, wanted := range p {
			if err := podMayWrite(wanted.Key); err != nil {
				return err
			}
			for _, key := range append(along(wanted.Key), wanted.Key) {
				if seen[key] {
					continue
				}
				seen[key] = true
				value, err := Read(key)
				switch {
				case err == nil:
					now = append(now, Pair{key, value})
				case !hasNone(key, err):
					return err
				}
			}
		}
		return nil
	})
	now.Order()
	return now, err
}

// hasNone reports whether a key that cannot be read has no value: it is for writing
// alone, as net/ipv4/route/flush, is a secret that is not set yet, or went with its
// interface meanwhile.
func hasNone(key string, err error) bool {
	return errors.Is(err, unix.EACCES) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EIO) && filepath.Base(key) == "stable_secret"
}

// podMayWrite looks whether a key can be written in the calling thread's network
// namespace. The kernel hides the whole machine's settings from the others, or
// lets them be read alone.
func podMayWrite(key string) error {
	at, err := path(key)
	if err != nil {
		return err
	}
	m, err := os.Stat(at)
	switch {
	case err != nil:
		return fmt.Errorf("a pod's network namespace has no such setting as %s: it is the whole machine's, or its module or interface is missing: %w", key, fs.ErrNotExist)
	case m.IsDir():
		return fmt.Errorf("sysctl %s is a group of settings", key)
	case m.Mode()&0o222 == 0:
		return fmt.Errorf("sysctl %s can only be read in a pod: %w", key, fs.ErrPermission)
	}
	return nil
}

// along lists the keys that the kernel changes when another one is written: each
// interface's key with that of all, and accept_redirects with forwarding
// (inet_forward_change).
func along(key string) []string {
	family, rest, _ := strings.Cut(strings.TrimPrefix(key, "net/"), "/")
	if key == "net/ipv4/ip_forward" {
		rest = "conf/all/forwarding"
	}
	setting, all := strings.CutPrefix(rest, "conf/all/")
	if !all || family != "ipv4" && family != "ipv6" {
		return nil
	}
	each, _ := filepath.Glob(filepath.Join("/proc/sys/net", family, "conf/*", setting))
	var out []string
	for _, file := range each {
		out = append(out, strings.TrimPrefix(file, "/proc/sys/"))
	}
	if family == "ipv4" && setting == "forwarding" {
		out = append(out, "net/ipv4/ip_forward", "net/ipv4/conf/all/accept_redirects")
	}
	return out
}
