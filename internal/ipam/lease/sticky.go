package lease

import (
	"encoding/hex"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/file"
	"github.com/catena-cni/catena/internal/lists"
	"github.com/catena-cni/catena/internal/state/name"
)

// The memory tells which addresses an identity, such as a pod's name, had
// last, long after its leases are gone. It stands beside the networks, where
// upstream never looks, and is made of dangling symlinks as the index is:
//
//	<dataDir>/.sticky/<network>/     0700
//	    k<2 digits>-<1 digit> -> <identity> <address>,...
//	    <address>             -> <identity> <owner>
//
//	identity  a hash of it, in 32 hex digits; the first two choose sixteen
//	          places, and so there are 4,096 of them and never more
//	owner     the key, in the index, of who held the lease
//
// It is believed where both links agree. Whoever gets an address that others
// are remembered for takes it out of the memory. All of it is a kindness: a
// memory that cannot be written is none, and no call fails for it.
const (
	stickyDir = ".sticky"
	ways      = "0123456789abcdef"

	// keptMax is how many free addresses that others are remembered for are
	// passed over in search of one that is nobody's.
	keptMax = 256
)

// memory is the memory of a network while an Add works on it, under the lock.
// A nil one remembers nothing.
type memory struct {
	path  string
	dir   int          // -1 where nothing was ever remembered
	id    string       // of who asks; "" for nobody in particular
	place string       // the name of the link that id has
	had   []netip.Addr // what id had last
}

// recall opens the memory and looks for an identity, which may be "".
func (s *Store) recall(identity string) *memory {
	m := &memory{path: s.memoryPath()}
	if identity != "" {
		sum := name.Hash(identity)
		m.id = hex.EncodeToString(sum[:])[:keyLen]
	}
	m.open()
	if m.dir < 0 || m.id == "" {
		return m
	}
	for _, place := range m.places() {
		if id, addrs := m.look(place); id == m.id {
			m.place, m.had = place, lists.Without(addrs, func(a netip.Addr) bool { return m.of(a) != id })
			break
		}
	}
	return m
}

func (s *Store) memoryPath() string {
	return filepath.Join(filepath.Dir(s.path), stickyDir, s.network)
}

func (m *memory) open() {
	var err error
	if m.dir, err = openat(unix.AT_FDCWD, m.path, unix.O_RDONLY|unix.O_DIRECTORY); err != nil {
		m.dir = -1
	}
}

func (m *memory) close() {
	if m != nil && m.dir >= 0 {
		unix.Close(m.dir)
	}
}

// places are the names that the link of an identity can have. Each identity
// begins with another of its sixteen, so that none is given up more often.
func (m *memory) places() []string {
	all := make([]string, len(ways))
	first := strings.IndexByte(ways, m.id[2])
	for i := range all {
		all[i] = "k" + m.id[:2] + "-" + string(ways[(first+i)%len(ways)])
	}
	return all
}

// read returns the two words of a link.
func (m *memory) read(link string) (first, second string) {
	var buf [512]byte
	n, err := readlinkat(m.dir, link, buf[:])
	if err != nil {
		return "", ""
	}
	first, second, _ = strings.Cut(string(buf[:n]), " ")
	return first, second
}

// look returns who is remembered at a place, and which addresses.
func (m *memory) look(place string) (id string, addrs []netip.Addr) {
	id, list := m.read(place)
	for text := range strings.SplitSeq(list, ",") {
		if a, err := netip.ParseAddr(text); err == nil {
			addrs = append(addrs, a)
		}
	}
	return id, addrs
}

// of returns who is remembered for an address, or "".
func (m *memory) of(a netip.Addr) string {
	id, _ := m.read(a.String())
	return id
}

// keeps reports whether another identity is remembered for an address.
func (m *memory) keeps(a netip.Addr) bool {
	if m == nil || m.dir < 0 {
		return false
	}
	id := m.of(a)
	return id != "" && id != m.id
}

// same reserves the address of a set that the identity had last, where it can
// be had.
func (t *taking) same(s Set) (netip.Addr, bool) {
	if t.memory == nil {
		return netip.Addr{}, false
	}
	for _, a := range t.memory.had {
		if s.Contains(a) && s.unusable(a) == "" && t.request(a) == nil {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// remember makes the memory say who was given these addresses.
func (t *taking) remember(leases []Lease) {
	m := t.memory
	if m == nil || t.dry || m.dir < 0 && m.id == "" {
		return
	}
	if m.dir < 0 && file.MakeFolder(m.path, 0o700) == nil {
		m.open()
	}
	if m.dir < 0 {
		return
	}
	var texts []string
	for _, l := range leases {
		a := l.Address.Addr()
		texts = append(texts, a.String())
		if m.keeps(a) {
			m.forget(a.String())
		}
	}
	if m.id == "" || m.place == "" && !t.place() {
		return
	}
	for _, a := range m.had {
		if !slices.Contains(texts, a.String()) {
			m.forget(a.String())
		}
	}
	m.put(m.place, m.id+" "+strings.Join(texts, ","))
	for _, text := range texts {
		m.put(text, m.id+" "+t.req.Owner.key())
	}
}

// place finds a place for an identity that has none: an empty one, or that of
// somebody who is not there.
func (t *taking) place() bool {
	m := t.memory
	var absent string
	for _, place := range m.places() {
		id, addrs := m.look(place)
		if id == "" {
			m.place = place
			return true
		}
		if absent == "" && !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return t.present(m, id, a) }) {
			absent = place
		}
	}
	if absent == "" {
		return false
	}
	id, addrs := m.look(absent)
	for _, a := range addrs {
		if m.of(a) == id {
			m.forget(a.String())
		}
	}
	m.place = absent
	return true
}

// present reports whether an address is held now by whom the memory has it of.
func (f *folder) present(m *memory, id string, a netip.Addr) bool {
	of, owner := m.read(a.String())
	e, err := f.read(a)
	return of == id && err == nil && !e.torn && e.owner.key() == owner
}

func (m *memory) put(link, text string) {
	m.forget(link)
	_ = symlinkat(text, m.dir, link)
}

func (m *memory) forget(link string) { _ = unlinkat(m.dir, link) }

// forgetOthers drops what the memory has of addresses that somebody else
// holds by now, and of identities without any.
func (f *folder) forgetOthers() {
	m := f.recall("")
	defer m.close()
	links, err := file.List(m.path)
	if m.dir < 0 || err != nil {
		return
	}
	var places []string
	for _, l := range links {
		a, ok := parseName(l.Name)
		if !ok {
			places = append(places, l.Name)
			continue
		}
		_, owner := m.read(l.Name)
		if e, err := f.read(a); err == nil && e.owner.key() != owner {
			m.forget(l.Name)
		}
	}
	for _, place := range places {
		id, addrs := m.look(place)
		if !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return m.of(a) == id }) {
			m.forget(place)
		}
	}
}
