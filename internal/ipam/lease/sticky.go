package lease

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// Which identity, such as a pod's name, had which address last stands beside the
// networks, where upstream never looks, long after the leases are gone:
//
//	<dataDir>/.sticky/<network>/       0700
//	    <address>-<hash>        0600   the identity, for people to read
//
// The file's name says it all: the hash is of the identity, in 32 hex digits.
// There are at most stickyMax files, and listing so many takes one or two
// milliseconds.
// All of it is a kindness: where it cannot be read or written nothing is
// remembered, and no call fails for it.
const (
	stickyDir = ".sticky"
	stickyMax = 4096
	hashLen   = 32
	// identityMax is how much of an identity is written down.
	identityMax = 512
)

// memory is what is remembered of a network. One without files or an identity
// remembers nothing.
type memory struct {
	path     string
	identity string // of who asks; "" for nobody in particular
	hash     string
	files    map[netip.Addr]string // the hash of who had an address
	had      []netip.Addr          // what the identity had
}

// recall reads what is remembered. A link in a folder's place leads to what is
// nobody's here.
func (s *Store) recall(identity string) memory {
	m := memory{path: filepath.Join(filepath.Dir(s.path), stickyDir, s.network), identity: identity, files: make(map[netip.Addr]string)}
	if errors.Join(contained(filepath.Dir(m.path)), contained(m.path)) != nil {
		return memory{path: m.path}
	}
	if identity != "" {
		m.hash = name.Digits(identity)
	}
	entries, _ := os.ReadDir(m.path)
	for _, e := range entries {
		text, hash, _ := strings.Cut(e.Name(), "-")
		addr, ok := parseName(text)
		if !ok || len(hash) != hashLen {
			continue
		}
		m.files[addr] = hash
		if hash == m.hash {
			m.had = append(m.had, addr)
		}
	}
	return m
}

// ofAnother reports whether another identity had an address.
func (m memory) ofAnother(addr netip.Addr) bool {
	hash, ok := m.files[addr]
	return ok && hash != m.hash
}

func fileOf(addr netip.Addr, hash string) string { return addr.String() + "-" + hash }

func (m memory) forget(addr netip.Addr) {
	if hash, ok := m.files[addr]; ok {
		_ = os.Remove(filepath.Join(m.path, fileOf(addr, hash)))
		delete(m.files, addr)
	}
}

// remember writes down who was given these addresses, in place of what the
// identity had and of who had them.
func (m memory) remember(f *folder, leases []Lease) {
	for _, addr := range m.had {
		m.forget(addr)
	}
	for _, l := range leases {
		m.forget(l.Address.Addr())
	}
	if m.identity == "" {
		return
	}
	if len(m.files)+len(leases) > stickyMax {
		m.makeRoom(f)
	}
	if len(m.files)+len(leases) > stickyMax {
		return
	}
	text := []byte(m.identity[:min(len(m.identity), identityMax)])
	for _, l := range leases {
		_ = state.Folder(m.path).Claim(fileOf(l.Address.Addr(), m.hash), text)
	}
}

// makeRoom forgets a quarter of the addresses, those first that were remembered
// longest ago, and none that is held now.
func (m memory) makeRoom(f *folder) {
	type aged struct {
		addr netip.Addr
		at   time.Time
	}
	var all []aged
	for addr, hash := range m.files {
		if st, err := os.Lstat(filepath.Join(m.path, fileOf(addr, hash))); err == nil {
			all = append(all, aged{addr, st.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b aged) int { return a.at.Compare(b.at) })
	for _, a := range all {
		if _, err := os.Lstat(f.file(a.addr)); err != nil && len(m.files) > stickyMax*3/4 {
			m.forget(a.addr)
		}
	}
}
