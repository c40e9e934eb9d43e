package lease

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
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

// memory is what is remembered of a network. A zero one remembers nothing.
type memory struct {
	path     string
	identity string // of who asks; "" for nobody in particular
	hash     string
	files    map[netip.Addr]string // the hash of who had an address
	had      []netip.Addr          // what the identity had
}

// recall reads what is remembered.
func (s *Store) recall(identity string) memory {
	m := memory{path: filepath.Join(filepath.Dir(s.path), stickyDir, s.network), identity: identity, files: make(map[netip.Addr]string)}
	if identity != "" {
		m.hash = hash(identity)
	}
	if !isFolder(filepath.Dir(m.path)) || !isFolder(m.path) {
		return m
	}
	dir, err := os.Open(m.path)
	if err != nil {
		return m
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(0)
	for _, name := range names {
		text, hash, _ := strings.Cut(name, "-")
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

func (m memory) file(addr netip.Addr, hash string) string {
	return filepath.Join(m.path, addr.String()+"-"+hash)
}

func (m memory) forget(addr netip.Addr) {
	if hash, ok := m.files[addr]; ok {
		_ = os.Remove(m.file(addr, hash))
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
	if m.identity == "" || makeFolder(filepath.Dir(m.path)) != nil || makeFolder(m.path) != nil {
		return
	}
	if len(m.files)+len(leases) > stickyMax {
		m.makeRoom(f)
	}
	if len(m.files)+len(leases) > stickyMax {
		return
	}
	for _, l := range leases {
		file, err := os.OpenFile(m.file(l.Address.Addr(), m.hash), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return
		}
		_, _ = file.WriteString(m.identity[:min(len(m.identity), identityMax)])
		_ = file.Close()
	}
}

// makeFolder makes a folder of ours. A link to one is none.
func makeFolder(path string) error {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrExist) && isFolder(path) {
		return nil
	}
	return err
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
		if st, err := os.Lstat(m.file(addr, hash)); err == nil {
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
