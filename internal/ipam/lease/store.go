// Package lease keeps the addresses of one network on one host: which range
// offers which addresses, and which container interface holds which. It is
// the engine of the host-local plugin and knows nothing of the CNI protocol.
//
// Everything is one small file per address, in a folder that upstream's
// host-local may read and write between any two calls (folder.go draws it).
// An index beside the files makes the cost of a call independent of how many
// there are, and remembers the boot and the network namespace a lease was
// made for, so that a lease that has outlived either can be given up (index.go).
// Files beside the network's folder tell which pod had which address last
// (sticky.go).
package lease

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrFull is met by errors.Is in the error of a call that found no free
// address in a set.
var ErrFull = errors.New("no address is free")

// ErrInvalid is met by errors.Is in the error of a call whose network name,
// owner or requested addresses cannot be right, whatever the folder holds.
var ErrInvalid = errors.New("invalid")

// A HeldError refuses an address that is held: one that was requested, or the one
// of an owner that comes again while its lease is alive. It is fs.ErrExist.
type HeldError struct {
	Address netip.Addr
	Holder  Owner
	Netns   string // of the holder, where that is known
	File    string // that holds the lease
	Again   bool   // the owner itself is the holder
}

func (e *HeldError) Error() string {
	if e.Again {
		return fmt.Sprintf("%s already holds %s: its network namespace %s is alive", e.Holder, e.Address, e.Netns)
	}
	text := fmt.Sprintf("requested address %s is in use by %s", e.Address, e.Holder)
	if e.Netns != "" {
		text += " in network namespace " + e.Netns
	}
	return text
}

// Is makes the error fs.ErrExist.
func (*HeldError) Is(target error) bool { return target == fs.ErrExist }

// nameMax is the longest file name that every Linux file system takes.
const nameMax = 255

// A Store is the leases of one network. Its methods may be called from any
// number of processes at a time: a lock in the folder orders them.
type Store struct {
	// CacheDir is where libcni keeps what it knows of live attachments. It
	// is read before a lease that upstream made is given up.
	CacheDir string

	network string
	path    string
}

// Open returns the store of a network in dataDir. It touches nothing.
func Open(dataDir, network string) (*Store, error) {
	if err := checkName("network name", network); err != nil {
		return nil, err
	}
	return &Store{
		CacheDir: "/var/lib/cni/results",
		network:  network,
		path:     filepath.Join(dataDir, network),
	}, nil
}

// Path returns the folder that holds the leases.
func (s *Store) Path() string { return s.path }

// An Owner is who holds a lease: one interface of one container. Old
// releases of upstream wrote no interface name; their leases belong to every
// interface of the container that holds none under its own name.
type Owner struct {
	ContainerID string
	IfName      string
}

// String is the form in which an owner stands in messages.
func (o Owner) String() string {
	if o.IfName == "" {
		return "container " + o.ContainerID
	}
	return "container " + o.ContainerID + " interface " + o.IfName
}

// old is the owner of a lease of o's that such a release made.
func (o Owner) old() Owner { return Owner{ContainerID: o.ContainerID} }

// lease is the text of a lease file.
func (o Owner) lease() string { return o.ContainerID + lineBreak + o.IfName }

// validate refuses what could not be read back from a lease file.
func (o Owner) validate() error {
	if err := checkName("container id", o.ContainerID); err != nil {
		return err
	}
	return checkName("interface name", o.IfName)
}

// checkName holds the names that come from outside to what they must be for
// the files to be right: one path element, one line.
func checkName(what, name string) error {
	if name == "" || name == "." || name == ".." || len(name) > nameMax || strings.ContainsRune(name, '/') ||
		!utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) || strings.TrimSpace(name) != name {
		return fmt.Errorf("%s %.300q is %w: it is to be one path element, in one line of plain text", what, name, ErrInvalid)
	}
	return nil
}

// Del frees what the owner holds, in whatever range. An owner that holds
// nothing is no error.
func (s *Store) Del(owner Owner) error {
	if err := owner.validate(); err != nil {
		return err
	}
	f, err := s.acquire(existing)
	if err != nil || f == nil {
		return err
	}
	defer f.close()

	mine, err := f.find(owner)
	if err != nil {
		return err
	}
	if len(mine) == 0 {
		return f.unreadable // which may be the owner's
	}
	if err := f.release(mine); err != nil {
		return fmt.Errorf("free the addresses of %s: %w", owner, err)
	}
	return nil
}

// Check reports whether the owner holds every address in want; if want is
// empty, whether it holds any. It changes nothing, and the error of a lost
// lease is fs.ErrNotExist to errors.Is.
func (s *Store) Check(owner Owner, want []netip.Addr) error {
	if err := owner.validate(); err != nil {
		return err
	}
	f, err := s.acquire(reading)
	if err != nil {
		return err
	}
	defer f.close()
	if len(want) == 0 {
		mine, err := f.find(owner)
		if err == nil && len(mine) == 0 {
			err = errors.Join(fmt.Errorf("%s holds no address in %s: %w", owner, s.path, fs.ErrNotExist), f.unreadable)
		}
		return err
	}
	var errs []error
	for _, addr := range want {
		errs = append(errs, f.checkOne(owner, addr))
	}
	return errors.Join(errs...)
}

func (f *folder) checkOne(owner Owner, addr netip.Addr) error {
	e, err := f.read(addr)
	switch {
	case err != nil:
		return fmt.Errorf("%s does not hold %s: %w", owner, addr, err)
	case e.torn():
		return fmt.Errorf("%s does not hold %s, whose file is torn: %w", owner, addr, fs.ErrNotExist)
	case !e.heldBy(owner):
		return fmt.Errorf("%s does not hold %s, it is held by %s: %w", owner, addr, e.owner, fs.ErrNotExist)
	}
	return nil
}

// GC frees every lease whose owner is not in valid, goes on when one cannot
// be freed, and reports those together.
func (s *Store) GC(valid []Owner) error {
	keep := make(map[Owner]bool, 2*len(valid))
	for _, o := range valid {
		keep[o] = true
		keep[o.old()] = true
	}
	return s.prune(func(_ *folder, e entry) bool { return e.torn() || !keep[e.owner] })
}

// FreeDead is GC where nobody says who is valid: it frees the leases that nobody
// can be using any more.
func (s *Store) FreeDead() error {
	return s.prune(func(f *folder, e entry) bool { return f.abandoned(e) != "" })
}

func (s *Store) prune(drop func(*folder, entry) bool) error {
	f, err := s.acquire(existing)
	if err != nil || f == nil {
		return err
	}
	defer f.close()
	leases, err := f.all()
	if err != nil {
		return err
	}
	var dropped []entry
	for _, e := range leases {
		if drop(f, e) {
			dropped = append(dropped, e)
		}
	}
	return errors.Join(f.release(dropped), f.unreadable)
}
