package lease

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/retry"
	"github.com/catena-cni/catena/internal/state"
)

// A health check runs every few seconds on every node: it may cost about two
// milliseconds and never waits for the lock. Within these bounds the answer
// is exact; beyond them a set counts as having a free address, because a node
// must not be declared broken on a guess, and ADD finds out for itself.
const (
	statusNames  = 4096 // file names read
	statusLeases = 256  // leases judged
)

// Status reports whether Add can work: whether the folder, or what it would
// be made in, can be written, and whether every set has an address to give.
func (s *Store) Status(sets []Set) error {
	if err := writable(s.path); err != nil {
		return err
	}
	f := &folder{Store: s, mode: reading}
	f.openIndex()
	var errs []error
	for i, set := range sets {
		errs = append(errs, f.hasFree(i, set))
	}
	return errors.Join(errs...)
}

// writable reports whether files can be made in a folder, or in the nearest
// one above it that exists.
func writable(path string) error {
	if err := state.Folder(path).Writable(); err != nil {
		return err
	}
	var disk unix.Statfs_t
	err := retry.Do(func() error { return unix.Statfs(path, &disk) })
	if parent := filepath.Dir(path); err == unix.ENOENT && parent != path {
		return writable(parent)
	}
	// A file system without a limit reports none of the total.
	if err == nil && (disk.Blocks > 0 && disk.Bfree == 0 || disk.Files > 0 && disk.Ffree == 0) {
		err = unix.ENOSPC
	}
	if err != nil {
		return fmt.Errorf("folder %s has no room for a file: %w", path, err)
	}
	return nil
}

func (f *folder) hasFree(set int, s Set) error {
	last := f.last(set)
	if _, ok := f.probe(s, last, func(netip.Addr) bool { return false }); ok {
		return nil
	}
	held, all, err := f.files(statusNames)
	if err != nil || !all {
		return err
	}
	for addr := range s.from(last) {
		if !held[addr] {
			return nil
		}
	}
	return f.noneAbandoned(s, held)
}

// noneAbandoned is the error of a set whose every address is held, unless a
// lease in it is one that Add would give up.
func (f *folder) noneAbandoned(s Set, held map[netip.Addr]bool) error {
	var judged []entry
	for addr := range held {
		if !s.Contains(addr) {
			continue
		}
		if len(judged) == statusLeases {
			return nil
		}
		e, err := f.read(addr)
		if errors.Is(err, fs.ErrNotExist) || err == nil && f.abandoned(e) != "" {
			return nil
		}
		judged = append(judged, e)
	}
	return f.full(s, judged)
}
