package lease

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/retry"
	"github.com/catena-cni/catena/internal/state"
)

// cachedMax is many times what libcni keeps of an attachment.
const cachedMax = 4 << 20

// A netns is a network namespace as it was found at a path. Its number tells
// it from another one that takes the same path later. One that could not be seen
// has no number.
type netns struct {
	Path  string `json:"path,omitempty"`
	Dev   uint64 `json:"dev,omitempty"`
	Inode uint64 `json:"inode,omitempty"`
}

func lookAt(path string) (netns, error) {
	var st unix.Stat_t
	err := retry.Do(func() error { return unix.Stat(path, &st) })
	return netns{path, uint64(st.Dev), st.Ino}, err
}

// gone reports whether the namespace is provably not there any more.
func (n netns) gone() bool {
	now, err := lookAt(n.Path)
	if err == nil {
		return n.Inode != 0 && now != n
	}
	return n.Path != "" && (err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP)
}

// origin is what the index knows of e.
func (f *folder) origin(e entry) origin {
	rec, _ := f.record(e.owner.ContainerID)
	return rec.of(e)
}

// abandoned says why nobody can be using the address of e any more, or is
// empty when somebody does or may.
func (f *folder) abandoned(e entry) string {
	from := f.origin(e)
	switch {
	case e.torn():
		return "its file is torn"
	case from.Boot != "" && f.boot != "" && from.Boot != f.boot:
		return "it was made before the last boot"
	case from.Netns.Path == "":
		return f.outlived(e)
	case from.Netns.gone():
		return "network namespace " + from.Netns.Path + " is gone"
	}
	return ""
}

// outlived judges a lease that upstream made, from its age and from what
// libcni keeps of a live attachment. The clock may have been wrong when the
// lease was made, so age alone proves nothing.
func (f *folder) outlived(e entry) string {
	var up unix.Timespec // since boot
	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up)
	if err != nil || e.at >= time.Now().UnixNano()-up.Nano() || !f.uncached(e.owner) {
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
	entries, err := os.ReadDir(f.CacheDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), base) && !cachedGone(filepath.Join(f.CacheDir, e.Name())) {
			return false
		}
	}
	return true
}

// cachedGone reports whether the attachment that a file of libcni's cache
// describes had a network namespace that is gone.
func cachedGone(path string) bool {
	text, err := state.ReadTrusted(path, cachedMax)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	var attachment struct {
		Netns string `json:"netns"`
	}
	if err != nil || json.Unmarshal(text, &attachment) != nil {
		return false
	}
	return netns{Path: attachment.Netns}.gone()
}
