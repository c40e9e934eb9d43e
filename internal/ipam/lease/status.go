package lease

import (
	"errors"

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
	if err := contained(s.path); err != nil {
		return err
	}
	if err := state.Folder(s.path).Writable(); err != nil {
		return err
	}
	c := newChoice(s.folder(reading), Request{})
	c.limit = statusFiles
	c.openIndex()
	var errs []error
	for i, set := range sets {
		_, err := c.search(i, set)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
