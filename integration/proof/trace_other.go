//go:build !amd64

package main

import "golang.org/x/sys/unix"

// Where a thread has the number of its call, and what it came to, is only known here of one architecture.

func fail(int) error { return unix.ENOSYS }

func failed(int, unix.Errno) error { return unix.ENOSYS }
