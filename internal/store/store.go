// Package store keeps small files in a folder: a key is claimed exclusively,
// replaced atomically and read whole, and no reader ever sees half a file.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/file"
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
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}

// temporary writes content to a file of its own beside the others. Its name
// begins with a dot, which no key does.
func (f Folder) temporary(content []byte) (string, error) {
	temp, err := os.CreateTemp(string(f), ".new-*")
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(string(f), 0o700); err != nil {
			return "", err
		}
		temp, err = os.CreateTemp(string(f), ".new-*")
	}
	if err != nil {
		return "", err
	}
	_, err = temp.Write(content)
	if err = errors.Join(err, temp.Close()); err != nil {
		return "", errors.Join(err, os.Remove(temp.Name()))
	}
	return temp.Name(), nil
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
	return os.Rename(from, to)
}

// Keys lists the files in the folder. A folder that is not there has none.
func (f Folder) Keys() ([]string, error) {
	entries, err := Entries(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, e := range entries {
		if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
			keys = append(keys, e.Name())
		}
	}
	slices.Sort(keys)
	return keys, nil
}

// Entries is what is in a folder, in no order: os.ReadDir would draw a sort of
// its own into every plugin.
func Entries(folder string) ([]fs.DirEntry, error) {
	f, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
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
