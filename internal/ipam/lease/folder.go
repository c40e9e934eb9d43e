package lease

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/retry"
	"github.com/catena-cni/catena/internal/state"
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
//
// Whatever else stands at these names (a pipe, a device, a link, a huge file) is
// not followed, waited for, or read to its end.
const (
	lockName  = "lock"
	lastName  = "last_reserved_ip."
	lineBreak = "\r\n"

	// leaseMax is longer than any lease can be.
	leaseMax = 4096
)

// A mode says what a caller will do to the folder.
type mode int

const (
	making   mode = iota // make the folder if it is missing
	existing             // change what is there; without a folder there is nothing to do
	reading              // change nothing; a missing folder is an empty one
)

// A folder is a store while one call works on it, under its lock.
type folder struct {
	*Store
	lock *os.File // nil in mode reading where nobody has made one yet
	mode mode
	boot string // the kernel's name for this boot, or "" where that cannot be known

	leases     []entry // all, once this call has read them: see all
	loaded     bool
	unreadable error // a lease that could not be read, if any

	indexed  bool // there is a folder for the index
	complete bool // every lease is in the index, or will be at the end of the call
	changed  bool // the index must be stamped anew
}

func (s *Store) folder(m mode) *folder {
	boot, _ := kernel.BootID()
	return &folder{Store: s, mode: m, boot: boot}
}

// acquire waits for the folder's lock, which close gives back. In mode existing
// it returns nil when there is no folder.
func (s *Store) acquire(m mode) (*folder, error) {
	if err := contained(s.path); err != nil {
		return nil, err
	}
	if m == making {
		if err := os.MkdirAll(s.path, 0o700); err != nil {
			return nil, fmt.Errorf("make the folder %s: %w", s.path, err)
		}
	}
	f := s.folder(m)
	var err error
	f.lock, err = s.openLock(m)
	switch {
	case errors.Is(err, fs.ErrNotExist) && m == existing:
		return nil, nil
	case errors.Is(err, fs.ErrNotExist) && m == reading:
		return f, nil // nobody has ever changed anything here
	case err == nil:
		err = retry.Do(func() error { return unix.Flock(int(f.lock.Fd()), unix.LOCK_EX) })
	}
	if err != nil {
		f.close()
		return nil, fmt.Errorf("lock %s: %w", s.path, err)
	}
	f.openIndex()
	return f, nil
}

// contained refuses a link in the place of a folder: what it leads to is nobody's
// here.
func contained(path string) error {
	if st, err := os.Lstat(path); err == nil && !st.IsDir() {
		return fmt.Errorf("%s is no folder, and a link to one is not followed", path)
	}
	return nil
}

func (s *Store) openLock(m mode) (*os.File, error) {
	flags := os.O_RDONLY | unix.O_NOFOLLOW
	if m != reading {
		flags |= os.O_CREATE
	}
	lock, _, err := state.Open(filepath.Join(s.path, lockName), flags)
	switch {
	case m == existing && errors.Is(err, state.ErrDamaged):
		return s.renewLock(flags)
	case m == existing && (errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)):
		// What frees addresses must not need room first. Who else wants the lock has none either.
		return os.Open(s.path)
	}
	return lock, err
}

// renewLock sets aside what is no lock, for a call that must not stop at it. The
// folder is locked meanwhile, so that nobody takes another's new lock for it.
func (s *Store) renewLock(flags int) (*os.File, error) {
	folder, err := state.Folder(s.path).Lock(unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	path := filepath.Join(s.path, lockName)
	lock, _, err := state.Open(path, flags)
	if errors.Is(err, state.ErrDamaged) {
		_ = state.Folder(s.path).SetAside(lockName, err) // where that fails, so does what follows
		lock, _, err = state.Open(path, flags)
	}
	return lock, err
}

// close stamps the index if it is complete, and gives the lock back.
func (f *folder) close() {
	f.closeIndex()
	f.lock.Close() // of nil, too
}

func (f *folder) file(addr netip.Addr) string {
	return filepath.Join(f.path, addr.String())
}

// readPlain returns the content of a small file, cut behind leaseMax, and when
// it was last changed, in nanoseconds.
func readPlain(path string) (text string, at int64, err error) {
	file, st, err := state.Open(path, os.O_RDONLY|unix.O_NOFOLLOW)
	if err != nil {
		return "", 0, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, leaseMax+1))
	return string(content), st.ModTime().UnixNano(), err
}

// An entry is one lease file.
type entry struct {
	addr  netip.Addr
	owner Owner // of nobody where the file is torn
	at    int64 // when the file was written, in nanoseconds
}

func (e entry) torn() bool { return e.owner == Owner{} }

// heldBy reports whether e is a lease of owner's, by its old form too.
func (e entry) heldBy(owner Owner) bool { return e.owner == owner || e.owner == owner.old() }

// read returns the lease of one address. A missing one is fs.ErrNotExist.
func (f *folder) read(addr netip.Addr) (entry, error) {
	text, at, err := readPlain(f.file(addr))
	if err != nil {
		return entry{}, err
	}
	return entry{addr, parseLease(text), at}, nil
}

// parseLease reads the content of a lease file. Space around it is ignored,
// as upstream does. What remains is a lease if it is UTF-8 without control
// characters, in one line (a container id) or in two with CR LF between
// them, and not longer than any lease can be. All else is torn, and nobody's.
func parseLease(text string) Owner {
	s := strings.TrimSpace(text)
	id, ifname, _ := strings.Cut(s, lineBreak)
	if len(text) > leaseMax || !utf8.ValidString(s) || strings.ContainsFunc(id+ifname, unicode.IsControl) {
		return Owner{}
	}
	return Owner{ContainerID: id, IfName: ifname}
}

// files returns the addresses that have a file. A limit is how many names are
// read; all is false where there may be more. Of 60,000 files os.File.Readdirnames
// lists the names in 0.6 of the time of getdents(2) by hand, and os.ReadDir in 1.2.
func (f *folder) files(limit int) (held map[netip.Addr]bool, all bool, err error) {
	held = make(map[netip.Addr]bool)
	dir, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return held, true, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(limit)
	if err != nil && err != io.EOF {
		return nil, false, err
	}
	for _, name := range names {
		if addr, ok := parseName(name); ok {
			held[addr] = true
		}
	}
	return held, limit <= 0 || len(names) < limit, nil
}

// parseName returns the address that a file name is the exact text of. An
// IPv4 address has only one text that can be parsed.
func parseName(name string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(name)
	return addr, err == nil && addr.Zone() == "" && (addr.Is4() || addr.String() == name)
}

// all reads every lease, once in a call, and makes the index complete. A lease
// that is gone by then is left out; one that cannot be read is left out too, and
// the index is not complete.
func (f *folder) all() ([]entry, error) {
	if f.loaded {
		return f.leases, nil
	}
	held, _, err := f.files(0)
	if err != nil {
		return nil, err
	}
	for _, addr := range slices.SortedFunc(maps.Keys(held), netip.Addr.Compare) {
		e, err := f.read(addr)
		switch {
		case err == nil:
			f.leases = append(f.leases, e)
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, state.ErrDamaged):
			f.unreadable = err
		}
	}
	f.loaded = true
	if f.mode != reading && !f.complete {
		f.rebuild()
	}
	return f.leases, nil
}

// last returns the address that a range set reserved last. It is a hint: one
// that cannot be read is none.
func (f *folder) last(set int) netip.Addr {
	text, _, _ := readPlain(f.lastFile(set))
	addr, _ := netip.ParseAddr(text)
	return addr.Unmap()
}

func (f *folder) lastFile(set int) string { return filepath.Join(f.path, fmt.Sprint(lastName, set)) }

// setLast remembers the address that a range set reserved last. It writes
// over the old text and cuts the file to length afterwards: a file that is
// cut first needs a new block, and some file systems flush it to the disk.
func (f *folder) setLast(set int, addr netip.Addr) error {
	file, st, err := state.Open(f.lastFile(set), os.O_WRONLY|os.O_CREATE|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer file.Close()
	n, err := file.WriteString(addr.String())
	if err == nil {
		err = file.Truncate(int64(n))
	} else if st.Size() == 0 {
		os.Remove(file.Name())
	}
	return err
}
