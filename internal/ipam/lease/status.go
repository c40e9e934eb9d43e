package lease

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/file"
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
	f, err := s.open(preview)
	if err != nil {
		return err
	}
	defer f.close()
	if err := writable(s.path); err != nil {
		return err
	}
	if f.dir < 0 {
		return nil
	}
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
	for {
		err := file.Again(func() error { return unix.Access(path, unix.W_OK|unix.X_OK) })
		if parent := filepath.Dir(path); err == unix.ENOENT && parent != path {
			path = parent
			continue
		}
		if err != nil {
			return fmt.Errorf("folder %s cannot be written: %w", path, err)
		}
		break
	}
	if m, err := file.ModeOf(path); err == nil && !m.IsFolder() {
		return fmt.Errorf("%s is no folder: %w", path, unix.ENOTDIR)
	}
	// A file system without a limit reports none of the total.
	var st unix.Statfs_t
	if file.Again(func() error { return unix.Statfs(path, &st) }) == nil && (st.Blocks > 0 && st.Bfree == 0 || st.Files > 0 && st.Ffree == 0) {
		return fmt.Errorf("folder %s has no room for a file: %w", path, unix.ENOSPC)
	}
	return nil
}

func (f *folder) hasFree(set int, s Set) error {
	at := s.cursor(f.last(set))
	for range probes {
		if _, addr, ok := at.step(); ok && f.isFree(addr) {
			return nil
		}
	}
	held, all := make(map[netip.Addr]bool), true
	err := f.names(func(addr netip.Addr) bool {
		held[addr] = true
		all = len(held) < statusNames
		return all
	})
	if err != nil || !all {
		return err
	}
	for at := s.cursor(f.last(set)); ; {
		_, addr, ok := at.step()
		if !ok {
			break
		}
		if !held[addr] {
			return nil
		}
	}
	return f.noneAbandoned(s, held)
}

// noneAbandoned is the error of a set whose every address is held, unless a
// lease in it is one that Add would give up.
func (f *folder) noneAbandoned(s Set, held map[netip.Addr]bool) error {
	var mine []entry
	for addr := range held {
		if !s.Contains(addr) {
			continue
		}
		if len(mine) == statusLeases {
			return nil
		}
		e, err := f.read(addr)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err == nil && f.abandoned(e) != "" {
			return nil
		}
		mine = append(mine, e)
	}
	return f.full(s, mine)
}
