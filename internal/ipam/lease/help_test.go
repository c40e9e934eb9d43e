package lease

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/state/name"
)

// aNetwork returns the store of an empty network, and its folder.
func aNetwork(t testing.TB) (*Store, string) {
	t.Helper()
	return networkIn(t, t.TempDir())
}

func networkIn(t testing.TB, dataDir string) (*Store, string) {
	t.Helper()
	s, err := Open(dataDir, "net")
	if err != nil {
		t.Fatal(err)
	}
	s.CacheDir = filepath.Join(dataDir, "results")
	return s, s.Path()
}

func hash(text string) string { return name.Digits(text) }

func own(id string) Owner { return Owner{id, "eth0"} }

// aNetns returns the path of a file that stands for a network namespace:
// what matters to the store is that the path is there, with one inode.
func aNetns(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "netns")
	write(t, path, "")
	return path
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func mustAdd(t testing.TB, s *Store, req Request) string {
	t.Helper()
	leases, err := s.Add(req)
	if err != nil {
		t.Fatal(err)
	}
	return text(leases)
}

func text(leases []Lease) string {
	var addrs []string
	for _, l := range leases {
		addrs = append(addrs, l.Address.Addr().String())
	}
	return strings.Join(addrs, " ")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantErr fails unless err is target and its text holds every word.
func wantErr(t testing.TB, err, target error, words ...string) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("error %v, want %v", err, target)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not say %q", err, word)
		}
	}
}

// files lists the folder but for the index: name=content, sorted.
func files(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		if e.Name() == indexDir || e.Name() == lockName {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		list = append(list, e.Name()+"="+strings.ReplaceAll(string(content), lineBreak, "|"))
	}
	return strings.Join(list, " ")
}

// list reads every lease, by address.
func (s *Store) list(t testing.TB) []entry {
	t.Helper()
	f, err := s.acquire(reading)
	must(t, err)
	defer f.close()
	all, err := f.all()
	must(t, err)
	must(t, f.unreadable)
	slices.SortFunc(all, func(a, b entry) int { return a.addr.Compare(b.addr) })
	return all
}

func isComplete(t testing.TB, s *Store, want bool) {
	t.Helper()
	f, err := s.acquire(reading)
	must(t, err)
	defer f.close()
	if f.complete != want {
		t.Errorf("the index is known to be complete: %v, want %v", f.complete, want)
	}
}
