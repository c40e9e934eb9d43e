package store

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// access asks the kernel whether a folder takes new files, which for root is a
// question of the mount: a read-only one does not.
func access(dir string) error {
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("folder %s takes no files: %w", dir, err)
	}
	return nil
}
