// Package stack has the process's stack grow to what a call needs before anything
// else is done. It would else double several times on the way, already while
// packages are initialized, and each time be copied and walked through.
//
// Of the packages whose imports are initialized the first by its path comes next
// (https://go.dev/ref/spec#Program_initialization): so this one has no imports.
package stack

var _ = widen(0)

// widen needs more stack than a call does, if it is not given 0.
//
//go:noinline
func widen(n int) byte {
	if n == 0 {
		return 0
	}
	var room [40 << 10]byte
	room[n] = widen(n - 1)
	return room[n/2]
}
