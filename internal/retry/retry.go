// Package retry makes a system call again that a signal interrupted: the Go
// runtime sends itself signals. Package os does so for its own calls, and
// x/sys/unix for none.
package retry

import "golang.org/x/sys/unix"

// Call makes a call until no signal interrupts it.
func Call[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if err != unix.EINTR {
			return v, err
		}
	}
}

// Do is Call for a call that gives nothing.
func Do(call func() error) error {
	_, err := Call(func() (struct{}, error) { return struct{}{}, call() })
	return err
}
