package lease

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/file"
)

// What stands in <dataDir>/<network>/ (0700 when made here), shared with
// upstream's host-local:
//
//	10.1.2.3             0600  one lease: containerID CR LF ifname, no newline
//	                           at the end (before 2018: the container id alone)
//	fd00::3              0600  the same; the name is Go's text of the address
//	last_reserved_ip.0   0600  the address that range set 0 reserved last
//	lock                 0600  flock(LOCK_EX) around every change
//	.catena/             0700  the index, ours alone: see index.go
//
// A lease is made under the lock, by us as a whole, by upstream with O_EXCL
// and one write, so a file that is empty or holds no lease while we have the
// lock is what a kill or a power cut left of one. It is torn, nobody's, and
// free. Nothing here calls fsync: a lease that a power cut takes away is gone
// together with its container.
const (
	lockName  = "lock"
	lastName  = "last_reserved_ip."
	lineBreak = "\r\n"

	// leaseMax is longer than any lease can be.
	leaseMax = 4096
)

var errNotPlain = errors.New("it is not a plain file")

// A mode says what a caller will do to the folder.
type mode int

const (
	making   mode = iota // make the folder if it is missing
	existing             // change what is there; without a folder there is nothing to do
	preview              // change nothing; a missing folder is an empty one
)

// A folder is a store while one call works on it, under its lock.
type folder struct {
	*Store
	dir, lock int
	draft     int // a lease that has no name yet
	dry       bool
	buf       [leaseMax + 1]byte

	index                     // see index.go
	hints                     // see reclaim.go
	freed map[netip.Addr]bool // what a dry run would have freed
}

// acquire opens the folder and waits for its lock, which close gives back. In
// mode existing it returns nil when there is no folder.
func (s *Store) acquire(m mode) (*folder, error) {
	f, err := s.open(m)
	if err != nil || f == nil || f.dir < 0 {
		return f, err
	}
	flags := unix.O_RDONLY
	if !f.dry {
		flags |= unix.O_CREAT
	}
	f.lock, err = openat(f.dir, lockName, flags)
	if f.dry && err == unix.ENOENT {
		return f, nil // nobody has ever changed anything here
	}
	if m == existing && (err == unix.ENOSPC || err == unix.EDQUOT) {
		// What frees addresses must not need room first. Who else wants the lock has none either.
		f.lock, err = openat(f.dir, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	}
	if err == nil {
		err = file.Again(func() error { return unix.Flock(f.lock, unix.LOCK_EX) })
	}
	if err != nil {
		f.close()
		return nil, fmt.Errorf("lock %s: %w", filepath.Join(s.path, lockName), err)
	}
	f.openIndex()
	return f, nil
}

// open opens the folder without its lock.
func (s *Store) open(m mode) (*folder, error) {
	f := &folder{Store: s, dir: -1, lock: -1, draft: -1, dry: m == preview}
	open := func() (err error) {
		f.dir, err = openat(unix.AT_FDCWD, s.path, unix.O_RDONLY|unix.O_DIRECTORY)
		return err
	}
	err := open()
	if err == unix.ENOENT && m == making {
		if err := file.MakeFolder(s.path, 0o700); err != nil {
			return nil, fmt.Errorf("make the folder of network %s: %w", s.network, err)
		}
		err = open()
	}
	switch {
	case err == nil:
		return f, nil
	case err == unix.ENOENT && m == existing:
		return nil, nil
	case err == unix.ENOENT && m == preview:
		return f, nil
	}
	return nil, fmt.Errorf("open %s: %w", s.path, err)
}

// close stamps the index if it is complete, and gives the lock back.
func (f *folder) close() {
	f.closeIndex()
	for _, fd := range []int{f.draft, f.lock, f.dir} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

func (f *folder) file(addr netip.Addr) string {
	return filepath.Join(f.path, addr.String())
}

// An entry is one lease file.
type entry struct {
	addr  netip.Addr
	owner Owner
	at    int64 // when the file was written, in nanoseconds
	torn  bool
}

// heldBy reports whether e is a lease of owner's, by its old form too.
func (e entry) heldBy(owner Owner) bool {
	return !e.torn && (e.owner == owner || e.owner == Owner{ContainerID: owner.ContainerID})
}

// holder is the form in which the owner of e stands in messages.
func (e entry) holder() string {
	if e.torn {
		return "nobody (its file is torn)"
	}
	return e.owner.String()
}

// read returns the lease of one address. A missing one is os.ErrNotExist.
func (f *folder) read(addr netip.Addr) (entry, error) {
	if f.dir < 0 || f.freed[addr] {
		return entry{}, fmt.Errorf("read %s: %w", f.file(addr), unix.ENOENT)
	}
	text, at, err := readat(f.dir, addr.String(), f.buf[:])
	if err != nil {
		return entry{}, fmt.Errorf("read %s: %w", f.file(addr), err)
	}
	owner, ok := parseLease(text)
	return entry{addr: addr, owner: owner, at: at, torn: !ok}, nil
}

// parseLease reads the content of a lease file. Space around it is ignored,
// as upstream does. What remains is a lease if it is UTF-8 without control
// characters, in one line (a container id) or in two with CR LF between
// them, and not longer than any lease can be. All else is torn.
func parseLease(text []byte) (Owner, bool) {
	s := strings.TrimSpace(string(text))
	if s == "" || len(text) > leaseMax || !utf8.ValidString(s) {
		return Owner{}, false
	}
	id, ifname, _ := strings.Cut(s, lineBreak)
	if strings.ContainsFunc(id, unicode.IsControl) || strings.ContainsFunc(ifname, unicode.IsControl) {
		return Owner{}, false
	}
	return Owner{ContainerID: id, IfName: ifname}, true
}

// last returns the address that a range set reserved last. It is a hint: one
// that cannot be read is none.
func (f *folder) last(set int) netip.Addr {
	if f.dir < 0 {
		return netip.Addr{}
	}
	text, _, err := readat(f.dir, fmt.Sprint(lastName, set), f.buf[:])
	if err != nil {
		return netip.Addr{}
	}
	addr, _ := netip.ParseAddr(string(text))
	return addr.Unmap()
}

// setLast remembers the address that a range set reserved last. It writes
// over the old text and cuts the file to length afterwards: a file that is
// cut first needs a new block, and some file systems flush it to the disk.
func (f *folder) setLast(set int, addr netip.Addr) error {
	if f.dry {
		return nil
	}
	name, text := fmt.Sprint(lastName, set), addr.String()
	fd, err := openat(f.dir, name, unix.O_WRONLY|unix.O_CREAT)
	if err == nil {
		defer unix.Close(fd)
		err = writeAll(fd, text)
		if err == nil {
			err = file.Again(func() error { return unix.Ftruncate(fd, int64(len(text))) })
		}
		var st unix.Stat_t
		if err != nil && fstat(fd, &st) == nil && st.Size == 0 {
			unlinkat(f.dir, name)
		}
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Join(f.path, name), err)
	}
	return nil
}

// names calls each with every address that has a file, in one reading of the
// folder, until it returns false.
func (f *folder) names(each func(netip.Addr) bool) error {
	return f.readDir(".", func(name string) bool {
		addr, ok := parseName(name)
		return !ok || f.freed[addr] || each(addr)
	})
}

// parseName returns the address that a file name is the exact text of. An
// IPv4 address has only one text that can be parsed.
func parseName(name string) (netip.Addr, bool) {
	if name[0] == '.' || name[0] == 'l' {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(name)
	return addr, err == nil && addr.Zone() == "" && (addr.Is4() || addr.String() == name)
}

// readDir calls each with every name in a folder beneath this one.
func (f *folder) readDir(path string, each func(string) bool) error {
	if f.dir < 0 {
		return nil
	}
	fd, err := openat(f.dir, path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("open %s: %w", filepath.Join(f.path, path), err)
	}
	defer unix.Close(fd)
	if err := file.Each(fd, filepath.Join(f.path, path), func(e file.Entry) bool { return each(e.Name) }); err != nil {
		return fmt.Errorf("read %s: %w", filepath.Join(f.path, path), err)
	}
	return nil
}

// walk reads every lease. One that is gone by then is left out; one that
// cannot be read is left out too, and the index is not complete.
func (f *folder) walk() ([]entry, error) {
	var addrs []netip.Addr
	err := f.names(func(addr netip.Addr) bool {
		addrs = append(addrs, addr)
		return true
	})
	if err != nil {
		return nil, err
	}
	entries := make([]entry, 0, len(addrs))
	for _, addr := range addrs {
		e, err := f.read(addr)
		switch {
		case err == nil:
			entries = append(entries, e)
		case !errors.Is(err, os.ErrNotExist) && !errors.Is(err, errNotPlain):
			f.unreadable = err
		}
	}
	return entries, nil
}
