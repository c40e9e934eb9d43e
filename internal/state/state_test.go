package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestFolder(t *testing.T) {
	f := Folder(filepath.Join(t.TempDir(), "a", "b"))
	if keys, err := f.Keys(); err != nil || len(keys) != 0 {
		t.Errorf("a folder that is not there: %v %v", keys, err)
	}
	if err := f.Claim("k", []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := f.Claim("k", []byte("two")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second claim: %v", err)
	}
	if b, _ := f.Read("k"); string(b) != "one" {
		t.Errorf("after a second claim: %q", b)
	}
	if err := f.Replace("k", []byte("three")); err != nil {
		t.Fatal(err)
	}
	if b, _ := f.Read("k"); string(b) != "three" {
		t.Errorf("replaced: %q", b)
	}
	if keys, err := f.Keys(); err != nil || fmt.Sprint(keys) != "[k]" {
		t.Errorf("%v %v: nothing else may be left", keys, err)
	}
	for range 2 {
		if err := f.Remove("k"); err != nil {
			t.Error(err)
		}
	}
	if _, err := f.Read("k"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed: %v", err)
	}
	for path, mode := range map[string]fs.FileMode{string(f): 0o700} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", path, st.Mode(), err)
		}
	}
}

// TestContained: a key is one file name, never a path.
func TestContained(t *testing.T) {
	f := Folder(t.TempDir())
	for _, key := range []string{"", ".", "..", "../x", "a/b", "/etc/passwd", "a\x00b", strings.Repeat("k", 300)} {
		_, readErr := f.Read(key)
		for _, err := range []error{f.Claim(key, nil), f.Replace(key, nil), f.Remove(key), readErr} {
			if err == nil {
				t.Errorf("%.20q was taken", key)
			}
		}
	}
}

// TestOneClaimWins of many at the same time, and its content is whole.
func TestOneClaimWins(t *testing.T) {
	f := Folder(t.TempDir())
	var wg sync.WaitGroup
	var mu sync.Mutex
	var won []string
	for i := range 50 {
		wg.Go(func() {
			text := strings.Repeat(fmt.Sprint(i, " "), 1000)
			if f.Claim("k", []byte(text)) == nil {
				mu.Lock()
				defer mu.Unlock()
				won = append(won, text)
			}
		})
	}
	wg.Wait()
	if b, err := f.Read("k"); len(won) != 1 || err != nil || string(b) != won[0] {
		t.Errorf("%d claims won: %v", len(won), err)
	}
}

// TestReplaceOverKilled: what a Replace has left that was killed is in nobody's way,
// and goes with the key.
func TestReplaceOverKilled(t *testing.T) {
	f := Folder(t.TempDir())
	killed := func() {
		if err := os.WriteFile(f.next("k"), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	left := func(want string) {
		entries, err := os.ReadDir(string(f))
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if fmt.Sprint(names) != want || err != nil {
			t.Errorf("%v is left: %v", names, err)
		}
	}
	for _, text := range []string{"one", "two"} {
		killed()
		if err := f.Replace("k", []byte(text)); err != nil {
			t.Error(err)
		}
		if b, err := f.Read("k"); string(b) != text || err != nil {
			t.Errorf("%q: %v", b, err)
		}
	}
	left("[k]")
	killed()
	if err := f.Remove("k"); err != nil {
		t.Error(err)
	}
	left("[]")
}

// TestReplaceTogether: of many at the same time each succeeds, and one is whole
// there.
func TestReplaceTogether(t *testing.T) {
	f := Folder(t.TempDir())
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if err := f.Replace("k", []byte(strings.Repeat(fmt.Sprint(i, " "), 1000))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	b, err := f.Read("k")
	words := strings.Fields(string(b))
	if err != nil || len(words) != 1000 || slices.ContainsFunc(words, func(w string) bool { return w != words[0] }) {
		t.Errorf("%d words: %v", len(words), err)
	}
	if entries, err := os.ReadDir(string(f)); len(entries) != 1 || err != nil {
		t.Errorf("%v is left: %v", entries, err)
	}
}

func TestWritable(t *testing.T) {
	f := Folder(filepath.Join(t.TempDir(), "not", "yet", "there"))
	if err := f.Writable(); err != nil {
		t.Error(err)
	}
	if err := Folder("/proc/sys/there").Writable(); err == nil {
		t.Error("/proc/sys takes files")
	}
}
