// Package state keeps small files in a folder: a key is claimed exclusively,
// replaced atomically and read whole, and no reader ever sees half a file.
package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/retry"
)

// Folder is a folder of small files, named by its path. It is made, with mode
// 0700, when something is first written to it; one that is there keeps its mode.
type Folder string

const (
	// keyMax is the longest file name that Linux filesystems take, less room for
	// the temporary name that a file is written under.
	keyMax = 255 - 32
	// sizeMax is many times what the largest file of ours has.
	sizeMax = 4 << 20
)

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

// Claim writes a file that must not be there yet: fs.ErrExist says who was first.
func (f Folder) Claim(key string, content []byte) error {
	path, err := f.path(key)
	if err != nil {
		return err
	}
	from, discard, err := f.whole(content)
	if err != nil {
		return err
	}
	defer discard()
	return link(from, path)
}

// Replace writes a file, in place of the one that may be there. Where this process
// is killed, nothing is left but what the next Replace or Remove of the key finds.
func (f Folder) Replace(key string, content []byte) error {
	path, err := f.path(key)
	if err != nil {
		return err
	}
	for range replaceTries {
		err = f.replace(path, f.next(key), content)
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return err
}

// replace is a try of Replace, which another's may come between.
func (f Folder) replace(path, next string, content []byte) error {
	from, discard, err := f.whole(content)
	if err != nil {
		return err
	}
	defer discard()
	if err = link(from, path); !errors.Is(err, fs.ErrExist) {
		return err
	}
	// What is there is of one that was killed, or of one that will find it gone.
	if err = remove(next); err == nil {
		err = link(from, next)
	}
	if err == nil {
		err = os.Rename(next, path)
	}
	return errors.Join(err, remove(next)) // of two names of one file, rename(2) leaves both
}

// replaceTries are many more than how often others come between.
const replaceTries = 100

// next is the name of what is to take the key's place.
func (f Folder) next(key string) string { return filepath.Join(string(f), ".new-"+key) }

// whole writes content to a file of the folder, and gives a path that link takes.
// The file has no name, so that nothing is left of it when this process is killed
// (open(2), O_TMPFILE). Some filesystems have no such files, and there it has one.
func (f Folder) whole(content []byte) (path string, discard func(), err error) {
	nameless, err := f.making(func() (*os.File, error) { return os.OpenFile(string(f), unix.O_TMPFILE|os.O_WRONLY, 0o600) })
	if err != nil {
		return f.temporary(content)
	}
	path = fmt.Sprintf("/proc/self/fd/%d", nameless.Fd())
	if _, err := os.Lstat(path); err != nil { // there is no /proc
		nameless.Close()
		return f.temporary(content)
	}
	if _, err := nameless.Write(content); err != nil {
		nameless.Close()
		return "", nil, err
	}
	return path, func() { nameless.Close() }, nil
}

// temporary is whole of a file whose name begins with a dot, which no key does.
func (f Folder) temporary(content []byte) (path string, discard func(), err error) {
	temp, err := f.making(func() (*os.File, error) { return os.CreateTemp(string(f), ".new-") })
	if err != nil {
		return "", nil, err
	}
	_, err = temp.Write(content)
	if err = errors.Join(err, temp.Close()); err != nil {
		return "", nil, errors.Join(err, os.Remove(temp.Name()))
	}
	return temp.Name(), func() { _ = os.Remove(temp.Name()) }, nil
}

// link gives a file a name that nobody else has.
func link(from, path string) error {
	err := retry.Do(func() error {
		return unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	})
	if err != nil {
		return &os.LinkError{Op: "link", Old: from, New: path, Err: err}
	}
	return nil
}

// making opens a file in the folder, which it makes where it is missing.
func (f Folder) making(open func() (*os.File, error)) (*os.File, error) {
	file, err := open()
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(string(f), 0o700); err != nil {
			return nil, err
		}
		file, err = open()
	}
	return file, err
}

// Read gives a file's content, or fs.ErrNotExist. It follows no link, and believes
// what ReadTrusted does.
func (f Folder) Read(key string) ([]byte, error) {
	path, err := f.path(key)
	if err != nil {
		return nil, err
	}
	return read(path, sizeMax, unix.O_NOFOLLOW, true)
}

// Remove removes a file. One that is not there is success.
func (f Folder) Remove(key string) error {
	path, err := f.path(key)
	if err != nil {
		return err
	}
	return errors.Join(remove(path), remove(f.next(key)))
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// SetAside gives a damaged file a name that no key has, in which it is in nobody's
// way and can be looked at. It says so on standard error, and returns the damage.
func (f Folder) SetAside(key string, damage error) error {
	path, err := f.path(key)
	if err != nil {
		return err
	}
	aside := filepath.Join(string(f), ".damaged-"+key)
	if err := os.Rename(path, aside); err != nil {
		return errors.Join(damage, err)
	}
	fmt.Fprintf(os.Stderr, "%v: it is set aside as %s\n", damage, aside)
	return damage
}

// Keys lists the plain files in the folder in their order. A folder that is not
// there has none.
func (f Folder) Keys() ([]string, error) {
	entries, err := os.ReadDir(string(f))
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
	return keys, nil
}

// Writable looks whether the folder, or the nearest parent that is there, takes
// new files. It writes nothing: for root it is a question of the mount, which is
// read-only or full.
func (f Folder) Writable() error {
	for dir := filepath.Clean(string(f)); ; dir = filepath.Dir(dir) {
		err := retry.Do(func() error { return unix.Access(dir, unix.W_OK|unix.X_OK) })
		if errors.Is(err, fs.ErrNotExist) && dir != "/" && dir != "." {
			continue
		}
		var disk unix.Statfs_t
		if err == nil {
			err = retry.Do(func() error { return unix.Statfs(dir, &disk) })
		}
		// A file system without a limit reports none of the total.
		if err == nil && (disk.Blocks > 0 && disk.Bfree == 0 || disk.Files > 0 && disk.Ffree == 0) {
			err = unix.ENOSPC
		}
		if err != nil {
			return fmt.Errorf("folder %s takes no files: %w", dir, err)
		}
		return nil
	}
}

// Lock makes the folder where it is missing, and locks it as long as the file that
// it returns is open (flock(2), whose words how has).
func (f Folder) Lock(how int) (*os.File, error) {
	folder, err := f.making(func() (*os.File, error) { return os.OpenFile(string(f), unix.O_DIRECTORY, 0) })
	if err == nil {
		err = retry.Do(func() error { return unix.Flock(int(folder.Fd()), how) })
	}
	if err != nil {
		folder.Close() // of nil, too
		return nil, fmt.Errorf("lock %s: %w", string(f), err)
	}
	return folder, nil
}
