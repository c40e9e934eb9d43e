package file_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/file"
)

func TestList(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for i := range 1000 { // more than one call of the kernel's gives
		name := fmt.Sprintf("%d-%s", i, strings.Repeat("n", i%200))
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		want = append(want, name)
	}
	for _, err := range []error{os.Mkdir(filepath.Join(dir, "folder"), 0o700), os.Symlink("folder", filepath.Join(dir, "link")), unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	all, err := file.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	var regular, other []string
	for _, e := range all {
		if e.Regular {
			regular = append(regular, e.Name)
		} else {
			other = append(other, e.Name)
		}
	}
	slices.Sort(regular)
	slices.Sort(other)
	slices.Sort(want)
	if !slices.Equal(regular, want) || !slices.Equal(other, []string{"folder", "link", "pipe"}) {
		t.Errorf("%d plain files and %q; want %d", len(regular), other, len(want))
	}
	if all, err := file.List(filepath.Join(dir, "missing")); len(all) != 0 || !errors.Is(err, fs.ErrNotExist) {
		t.Error(all, err)
	}
	if all, err := file.List(filepath.Join(dir, "pipe")); len(all) != 0 || !errors.Is(err, unix.ENOTDIR) {
		t.Error(all, err)
	}
}

func TestMakeFolder(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b", "c")
	for range 2 {
		if err := file.MakeFolder(deep, 0o700); err != nil {
			t.Fatal(err)
		}
		if m, err := file.ModeOf(deep); err != nil || !m.IsFolder() || m.IsRegular() || m&0o777 != 0o700 {
			t.Errorf("%o %v", m, err)
		}
	}
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	if m, err := file.ModeOf(plain); err != nil || m.IsFolder() || !m.IsRegular() || m&0o777 != 0o640 {
		t.Errorf("%o %v", m, err)
	}
	for _, path := range []string{plain, plain + "/below"} {
		if err := file.MakeFolder(path, 0o700); !errors.Is(err, unix.ENOTDIR) {
			t.Error(err)
		}
	}
	if _, err := file.ModeOf(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestRename(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	for path, text := range map[string]string{from: "new", to: "old"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := file.Rename(from, to); err != nil {
		t.Fatal(err)
	}
	if text, err := file.Read(to); err != nil || string(text) != "new" {
		t.Errorf("%q %v", text, err)
	}
	if err := file.Rename(from, to); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), from) {
		t.Error(err)
	}
}
