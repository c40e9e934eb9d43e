package sysctl

import (
	"errors"

	"golang.org/x/sys/unix"
)

// ReadOnly reports whether a write failed because /proc/sys is mounted
// read-only, as in a container.
func ReadOnly(err error) bool { return errors.Is(err, unix.EROFS) }
