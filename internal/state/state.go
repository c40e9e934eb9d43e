// Package state keeps small files in a folder: a key is claimed exclusively,
// replaced atomically and read whole, and no reader ever sees half a file.
package state

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/file"
	"github.com/catena-cni/catena/internal/lists"
)

// Folder is a folder of small files, named by its path. It is made, with mode
// 0700, when something is first written to it; one that is there keeps its mode.
type Folder string

// keyMax is the longest file name that Linux filesystems take, less room for
// the temporary name that a file is written under.
const keyMax = 255 - 32

// path contains a key in the folder: it is one file name, never a path.
func (f Folder) path(key string) (string, error) {
	if key == "" || strings.HasPrefix(key, ".") || strings.ContainsAny(key, "/\x00") {
		return "", fmt.Errorf("%q cannot be the name of a file in %s: %w", key, string(f), fs.ErrInvalid)
	}
	if len(key) > keyMax {
		return "", fmt.Errorf("%.20q… in %s: a name may have %d bytes: %w", key, string(f), keyMax, fs.ErrInvalid)
	}
	return filepath.Join(string(f), key), nil
}

// Claim writes a file that must not be there yet: os.ErrExist says who was first.
func (f Folder) Claim(key string, content []byte) error {
	path, err := f.path(key)
	if err != nil {
		return err
	}
	if fd, err := f.nameless(); err == nil {
		defer unix.Close(fd)
		if err := file.WriteTo(fd, path, content); err != nil {
			return err
		}
		return give(fd, path)
	}
	temp, err := f.temporary(content)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	return os.Link(temp, path)
}

// Replace writes a file, in place of the one that may be there.
func (f Folder) Replace(key string, content []byte) error {
	path, err := f.path(key)
	if err != nil {
		return err
	}
	temp, err := f.temporary(content)
	if err != nil {
		return err
	}
	if err := file.Rename(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}

// temporary writes content to a file of its own beside the others. Its name
// begins with a dot, which no key does.
func (f Folder) temporary(content []byte) (string, error) {
	var chance [16]byte
	if _, err := unix.Getrandom(chance[:], 0); err != nil {
		return "", fmt.Errorf("find a name for a new file in %s: %w", string(f), err)
	}
	temp := filepath.Join(string(f), ".new-"+hex.EncodeToString(chance[:]))
	fd, err := f.making(func() (int, error) { return file.Open(temp, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o600) })
	if err != nil {
		return "", err
	}
	err = file.WriteTo(fd, temp, content)
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return "", errors.Join(err, os.Remove(temp))
	}
	return temp, nil
}

// making opens a file in the folder, which it makes where it is missing.
func (f Folder) making(open func() (fd int, err error)) (fd int, err error) {
	fd, err = open()
	if errors.Is(err, fs.ErrNotExist) {
		if err := file.MakeFolder(string(f), 0o700); err != nil {
			return fd, err
		}
		fd, err = open()
	}
	return fd, err
}

// Read gives a file's content, or os.ErrNotExist.
func (f Folder) Read(key string) ([]byte, error) {
	path, err := f.path(key)
	if err != nil {
		return nil, err
	}
	return file.Read(path)
}

// Remove removes a file. One that is not there is success.
func (f Folder) Remove(key string) error {
	path, err := f.path(key)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Rename gives a file another key, in place of the file that may have it.
func (f Folder) Rename(key, other string) error {
	from, err := f.path(key)
	if err != nil {
		return err
	}
	to, err := f.path(other)
	if err != nil {
		return err
	}
	return file.Rename(from, to)
}

// Keys lists the files in the folder. A folder that is not there has none.
func (f Folder) Keys() ([]string, error) {
	entries, err := file.List(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, e := range entries {
		if e.Regular && !strings.HasPrefix(e.Name, ".") {
			keys = append(keys, e.Name)
		}
	}
	return lists.Ascending(keys), nil
}

// Writable looks whether the folder, or the nearest parent that is there, takes
// new files. It writes nothing.
func (f Folder) Writable() error {
	for dir := filepath.Clean(string(f)); ; dir = filepath.Dir(dir) {
		err := access(dir)
		if !errors.Is(err, fs.ErrNotExist) || dir == "/" || dir == "." {
			return err
		}
	}
}
