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
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, mode)
		if err == unix.EINTR {
			continue
		}
		return fd, failed("open", path, err)
	}
}

// Read gives a file's whole content.
func Read(path string) ([]byte, error) {
	fd, err := Open(path, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	content := make([]byte, 0, 512)
	for {
		n, err := unix.Read(fd, content[len(content):cap(content)])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, failed("read", path, err)
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
		n, err := unix.Write(fd, content)
		if err == unix.EINTR {
			continue
		}
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
