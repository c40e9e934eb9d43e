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

// source is a file that is to be put somewhere.
func source(path string, mode fs.FileMode) (file, error) {
	from, err := os.Open(path)
	if err != nil {
		return file{}, err
	}
	defer from.Close()
	sum, err := digest(from)
	return file{filepath.Base(path), path, sum, mode}, err
}

func digest(r io.Reader) (string, error) {
	sum := sha256.New()
	_, err := io.Copy(sum, r)
	return hex.EncodeToString(sum.Sum(nil)), err
}

// folder is one of the node's. What it has beside what the record names is somebody else's.
type folder string

// put makes the folder have the files, each one old or new at any moment. The record names them before, so that whatever
// becomes of this process, the next one knows what is its own.
func (f folder) put(files []file) error {
	if err := os.MkdirAll(string(f), 0o755); err != nil {
		return err
	}
	known, err := f.recorded()
	if err != nil {
		return err
	}
	var missing []file
	for _, one := range files {
		sum, mode, err := f.look(one.name)
		if err != nil {
			return err
		}
		if mode == one.mode && sum == one.digest {
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
		from, err := os.Open(one.from)
		if err == nil {
			err = errors.Join(f.write(one, from), from.Close())
		}
		if err != nil {
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
		sum, _, err := f.look(name)
		switch {
		case err != nil:
			return err
		case sum == "", slices.ContainsFunc(files, func(one file) bool { return one.name == name }):
		case !slices.Contains(known[name], sum):
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
	known := map[string][]string{}
	from, _, err := f.open(record)
	if from == nil {
		return known, err
	}
	defer from.Close()
	b, err := io.ReadAll(io.LimitReader(from, sizeMax))
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
	sum, _ := digest(strings.NewReader(text.String()))
	return errors.Join(f.write(file{name: record, digest: sum, mode: 0o644}, strings.NewReader(text.String())), f.sync())
}

// look gives the digest and the mode of a file, and none where there is no file that can be ours. The mode of another
// user's is 0.
func (f folder) look(name string) (sum string, mode fs.FileMode, err error) {
	from, st, err := f.open(name)
	if from == nil {
		return "", 0, err
	}
	defer from.Close()
	if int(st.Sys().(*syscall.Stat_t).Uid) == os.Geteuid() {
		mode = st.Mode()
	}
	sum, err = digest(io.LimitReader(from, sizeMax))
	return sum, mode, err
}

// open opens a file, unless there is none, or something that can be none of ours: no link is followed, and nothing but a
// plain file of a size that files of ours have is opened.
func (f folder) open(name string) (*os.File, fs.FileInfo, error) {
	from, st, err := state.Open(filepath.Join(string(f), name), syscall.O_NOFOLLOW)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, state.ErrDamaged):
		return nil, nil, nil
	case err == nil && st.Size() > sizeMax:
		return nil, nil, from.Close()
	}
	return from, st, err
}

// write puts a whole file in the place of whatever has its name, a link and a pipe too. Its own name is the last thing that
// it gets: containerd looks at a folder when something in it is renamed, and not when something is made.
func (f folder) write(one file, from io.Reader) error {
	to, err := os.CreateTemp(string(f), temporary)
	if err != nil {
		return err
	}
	sum, err := digest(io.TeeReader(from, to))
	if err == nil && sum != one.digest {
		err = fmt.Errorf("%s is being changed", one.from)
	}
	if err = errors.Join(err, to.Chmod(one.mode), to.Sync(), to.Close()); err == nil {
		err = os.Rename(to.Name(), filepath.Join(string(f), one.name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(to.Name()))
	}
	return nil
}

// sweep removes what a killed process has left, as far as it can: it is in nobody's way.
func (f folder) sweep() {
	left, _ := filepath.Glob(filepath.Join(string(f), temporary+"*"))
	for _, path := range left {
		_ = os.Remove(path)
	}
}

// sync waits until the names are on disk, as their files are.
func (f folder) sync() error {
	dir, err := os.Open(string(f))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
