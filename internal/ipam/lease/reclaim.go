package lease

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/file"
)

const bootIDFile = "/proc/sys/kernel/random/boot_id"

// hints is what a call has learnt about this boot so far.
type hints struct {
	boot  *string
	cache []file.Entry
}

// bootID names this boot of the kernel, or is "" when that cannot be known.
func (f *folder) bootID() string {
	if f.boot == nil {
		var buf [64]byte
		text, _, _ := readat(unix.AT_FDCWD, bootIDFile, buf[:])
		id := string(bytes.TrimSpace(text))
		f.boot = &id
	}
	return *f.boot
}

// A netns is a network namespace as it was found at a path. Its number tells
// it from another one that takes the same path later.
type netns struct {
	path       string
	dev, inode uint64
}

// netnsAt looks at the namespace at a path. One that cannot be seen has no
// number.
func netnsAt(path string) netns {
	ns := netns{path: path}
	var st unix.Stat_t
	if path != "" && stat(path, &st) == nil {
		ns.dev, ns.inode = st.Dev, st.Ino
	}
	return ns
}

// gone reports whether the namespace is provably not there any more.
func (n netns) gone() bool {
	var st unix.Stat_t
	switch err := stat(n.path, &st); err {
	case nil:
		return n.inode != 0 && (st.Dev != n.dev || st.Ino != n.inode)
	case unix.ENOENT, unix.ENOTDIR:
		return n.path != ""
	}
	return false
}

// A state is what is known of whoever holds a lease.
type state int

const (
	unrecorded state = iota // nothing: upstream made the lease
	alive                   // its network namespace is there, or may be
	earlier                 // it is of an earlier boot
	gone                    // its network namespace is gone
)

// state tells what is known of the owner of e, and of its namespace.
func (f *folder) state(e entry) (state, netns) {
	rec, err := f.record(e.owner)
	switch {
	case err != nil || !rec.speaksOf(e):
		return unrecorded, netns{}
	case rec.boot != "" && f.bootID() != "" && rec.boot != f.bootID():
		return earlier, rec.netns
	case rec.netns.path == "":
		return unrecorded, netns{}
	case rec.netns.gone():
		return gone, rec.netns
	}
	return alive, rec.netns
}

// abandoned says why nobody can be using the address of e any more, or is
// empty when somebody does or may.
func (f *folder) abandoned(e entry) string {
	if e.torn {
		return "its file is torn"
	}
	st, ns := f.state(e)
	switch st {
	case earlier:
		return "it was made before the last boot"
	case gone:
		return "network namespace " + ns.path + " is gone"
	case unrecorded:
		return f.outlived(e)
	}
	return ""
}

// outlived judges a lease that upstream made, from its age and from what
// libcni keeps of a live attachment. The clock may have been wrong when the
// lease was made, so age alone proves nothing.
func (f *folder) outlived(e entry) string {
	boot, err := bootTime()
	if err != nil || e.at >= boot.UnixNano() {
		return ""
	}
	if !f.uncached(e.owner) {
		return ""
	}
	return "it was made before the last boot, and libcni knows no live attachment of it"
}

// uncached reports whether libcni's cache shows that the owner's attachment
// is gone. What it cannot read shows nothing.
func (f *folder) uncached(owner Owner) bool {
	base := f.network + "-" + owner.ContainerID + "-" + owner.IfName
	if strings.ContainsAny(base, "/\x00") {
		return false
	}
	if owner.IfName != "" {
		return cachedGone(filepath.Join(f.CacheDir, base))
	}
	// Any interface of the container may be the one that holds it.
	if f.cache == nil {
		entries, err := file.List(f.CacheDir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return false
		}
		f.cache = append([]file.Entry{}, entries...)
	}
	for _, e := range f.cache {
		if strings.HasPrefix(e.Name, base) && !cachedGone(filepath.Join(f.CacheDir, e.Name)) {
			return false
		}
	}
	return true
}

// cachedGone reports whether the attachment that a file of libcni's cache
// describes had a network namespace that is gone.
func cachedGone(path string) bool {
	text, err := file.Read(path)
	if errors.Is(err, os.ErrNotExist) {
		return true
	}
	var attachment struct {
		Netns string `json:"netns"`
	}
	if err != nil || json.Unmarshal(text, &attachment) != nil {
		return false
	}
	return netns{path: attachment.Netns}.gone()
}
