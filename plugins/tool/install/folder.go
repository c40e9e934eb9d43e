package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/catena-cni/catena/internal/state"
)

const (
	// record says in a folder what this program has put there, as sha256sum does. No runtime takes it, nor what begins
	// with temporary, for a plugin or a configuration.
	record    = ".catena-installed"
	temporary = ".catena-new-"
	// sizeMax is more than any plugin has.
	sizeMax = 16 << 20
)

// file is one that a folder is to have.
type file struct {
	name, from, digest string
	mode               fs.FileMode
}

// source reads a file that is to be put somewhere, also through a link, as those of a ConfigMap are.
func source(path string, mode fs.FileMode) (file, []byte, error) {
	b, err := state.ReadFile(path, sizeMax)
	return file{filepath.Base(path), path, digest(b), mode}, b, err
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// folder is one of the node's. What it has beside what the record names is somebody else's.
type folder string

// put makes the folder have the files, each one old or new at any moment. The record names them before, so that whatever
// becomes of this process, the next one knows what is its own.
func (f folder) put(files []file) error {
	if err := errors.Join(os.MkdirAll(string(f), 0o755), f.sweep()); err != nil {
		return err
	}
	known, err := f.recorded()
	if err != nil {
		return err
	}
	var missing []file
	for _, one := range files {
		b, mode, err := f.read(one.name)
		if err != nil {
			return err
		}
		if b != nil && mode == one.mode && digest(b) == one.digest {
			continue
		}
		missing = append(missing, one)
		if !slices.Contains(known[one.name], one.digest) {
			known[one.name] = append(known[one.name], one.digest)
		}
	}
	if len(missing) > 0 {
		if err := f.note(known); err != nil {
			return err
		}
	}
	for _, one := range missing {
		again, b, err := source(one.from, one.mode)
		if err == nil && again != one {
			err = fmt.Errorf("%s is being changed", one.from)
		}
		if err != nil {
			return err
		}
		if err := f.write(one.name, b, one.mode); err != nil {
			return err
		}
		fmt.Printf("put %s into %s\n", one.name, f)
	}
	return f.sync()
}

// drop takes away what the record names beside the files, unless somebody has changed it since.
func (f folder) drop(files []file) error {
	known, err := f.recorded()
	if err != nil || len(known) == 0 {
		return err
	}
	left := map[string][]string{}
	for _, one := range files {
		if slices.Contains(known[one.name], one.digest) {
			left[one.name] = []string{one.digest}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		b, _, err := f.read(name)
		switch {
		case err != nil:
			return err
		case b == nil, slices.ContainsFunc(files, func(one file) bool { return one.name == name }):
		case !slices.Contains(known[name], digest(b)):
			fmt.Printf("leave %s in %s: it was changed by somebody else\n", name, f)
		default:
			if err := os.Remove(filepath.Join(string(f), name)); err != nil {
				return err
			}
			fmt.Printf("took %s from %s\n", name, f)
		}
	}
	if maps.EqualFunc(known, left, slices.Equal) {
		return nil
	}
	return f.note(left)
}

// recorded gives the digests under which the record has each name: two, while one version takes the place of another.
func (f folder) recorded() (map[string][]string, error) {
	b, _, err := f.read(record)
	known := map[string][]string{}
	for line := range strings.Lines(string(b)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		if name != "" && !strings.HasPrefix(name, ".") && !strings.Contains(name, "/") {
			known[name] = append(known[name], sum)
		}
	}
	return known, err
}

// note writes the record.
func (f folder) note(known map[string][]string) error {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(known)) {
		for _, sum := range known[name] {
			fmt.Fprintf(&text, "%s  %s\n", sum, name)
		}
	}
	if len(known) == 0 {
		return errors.Join(os.Remove(filepath.Join(string(f), record)), f.sync())
	}
	return errors.Join(f.write(record, []byte(text.String()), 0o644), f.sync())
}

// read gives a file's bytes and mode, and no bytes where there is none, or something that can be none of ours: no link is
// followed, and nothing but a regular file opened.
func (f folder) read(name string) ([]byte, fs.FileMode, error) {
	path := filepath.Join(string(f), name)
	st, err := os.Lstat(path)
	if err == nil && (!st.Mode().IsRegular() || st.Size() > sizeMax) || errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	} else if err != nil {
		return nil, 0, err
	}
	open, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ELOOP) {
		return nil, 0, nil // since then
	} else if err != nil {
		return nil, 0, err
	}
	defer open.Close()
	if now, err := open.Stat(); err != nil || !os.SameFile(st, now) {
		return nil, 0, err
	}
	b, err := io.ReadAll(io.LimitReader(open, sizeMax))
	return b, st.Mode().Perm(), err
}

// write puts a whole file in the place of whatever has its name, a link and a pipe too. Its own name is the last thing that
// it gets: containerd looks at a folder when something in it is renamed, and not when something is made.
func (f folder) write(name string, b []byte, mode fs.FileMode) error {
	file, err := os.CreateTemp(string(f), temporary)
	if err != nil {
		return err
	}
	_, err = file.Write(b)
	if err = errors.Join(err, file.Chmod(mode), file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), filepath.Join(string(f), name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

// sweep removes what a killed process has left.
func (f folder) sweep() error {
	entries, err := os.ReadDir(string(f))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), temporary) {
			err = errors.Join(err, os.Remove(filepath.Join(string(f), entry.Name())))
		}
	}
	return err
}

// sync waits until the names are on disk, as their files are.
func (f folder) sync() error {
	dir, err := os.Open(string(f))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
