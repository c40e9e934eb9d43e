package lease

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/retry"
	"github.com/catena-cni/catena/internal/state"
)

// statusFiles is how many file names Status reads. A health check runs every few
// seconds on every node, and never waits for the lock: it may cost two milliseconds,
// or fifteen where a thousand addresses are all held. With more files a set counts as
// having a free address, because a node must not be declared broken on a guess, and
// ADD finds out for itself.
const statusFiles = 1024

// Status reports whether Add can work: whether the folder, or what it would
// be made in, can be written, and whether every set has an address to give.
func (s *Store) Status(sets []Set) error {
	if err := s.contained(); err != nil {
		return err
	}
	if err := writable(s.path); err != nil {
		return err
	}
	c := newChoice(&folder{Store: s, mode: reading}, Request{})
	c.limit = statusFiles
	c.openIndex()
	var errs []error
	for i, set := range sets {
		_, err := c.search(i, set)
		errs = append(errs, err)
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
