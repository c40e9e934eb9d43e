package main

import (
	"os"
	"path/filepath"
)

// install copies the programs of both folders to where they are run from. A file that a
// linker has just written lies in small pieces in the kernel's memory, and starts slower than a copy, which is what users
// have.
func (o options) install() (copied options, remove func(), err error) {
	to, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return o, nil, err
	}
	remove = func() { os.RemoveAll(to) }
	for _, folder := range []*string{&o.ours, &o.theirs} {
		files, err := os.ReadDir(*folder)
		if err != nil {
			return o, remove, err
		}
		place, err := os.MkdirTemp(to, "")
		for _, f := range files {
			if err == nil && f.Type().IsRegular() {
				err = copyProgram(filepath.Join(*folder, f.Name()), filepath.Join(place, f.Name()))
			}
		}
		if err != nil {
			return o, remove, err
		}
		*folder = place
	}
	return o, remove, err
}

func copyProgram(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o755)
}
