package state

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/file"
)

// access asks the kernel whether a folder takes new files, which for root is a
// question of the mount: a read-only one does not.
func access(dir string) error {
	if err := file.Again(func() error { return unix.Access(dir, unix.W_OK|unix.X_OK) }); err != nil {
		return fmt.Errorf("folder %s takes no files: %w", dir, err)
	}
	return nil
}
