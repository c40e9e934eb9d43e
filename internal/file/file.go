// Package file reads and writes small files by the system calls alone. Package
// os asks of each file whether it can be waited for, which takes longer than to
// read one under /proc.
package file

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// Open opens a file by open(2) and gives its descriptor, which programs that are
// executed do not get.
func Open(path string, flags int, mode uint32) (int, error) {
	fd, err := Retry(func() (int, error) { return unix.Open(path, flags|unix.O_CLOEXEC, mode) })
	return fd, failed("open", path, err)
}

// Retry runs a system call again for as long as a signal interrupts it: the Go
// runtime sends itself signals, and a wait for a lock is long.
func Retry[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if err != unix.EINTR {
			return v, err
		}
	}
}

// Again is Retry for a call that gives nothing.
func Again(call func() error) error {
	_, err := Retry(func() (struct{}, error) { return struct{}{}, call() })
	return err
}

// Read gives a file's whole content.
func Read(path string) ([]byte, error) {
	fd, err := Open(path, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return ReadFrom(fd, path)
}

// ReadFrom reads an open file to its end. The path is for the error.
func ReadFrom(fd int, path string) ([]byte, error) {
	content := make([]byte, 0, 512)
	for {
		n, err := Retry(func() (int, error) { return unix.Read(fd, content[len(content):cap(content)]) })
		switch {
		case err != nil:
			return content, failed("read", path, err)
		case n == 0:
			return content, nil
		}
		content = content[:len(content)+n]
		if len(content) == cap(content) {
			content = append(content, 0)[:len(content)]
		}
	}
}

// Write writes to a file that is there, in one piece, as files under /proc want
// it.
func Write(path string, content []byte) error {
	fd, err := Open(path, unix.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return WriteTo(fd, path, content)
}

// WriteTo writes to an open file. The path is for the error.
func WriteTo(fd int, path string, content []byte) error {
	for len(content) > 0 {
		n, err := Retry(func() (int, error) { return unix.Write(fd, content) })
		if err != nil {
			return failed("write", path, err)
		}
		content = content[n:]
	}
	return nil
}

func failed(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}
