package lease

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
	"time"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// inTime fails the test where a call hangs.
func inTime(t *testing.T, what string, call func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		call()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatalf("%s: the call hangs", what)
	}
}

// odd puts something that is no plain file at a path, by its kind.
var odd = map[string]func(path string) error{
	"a pipe":   func(path string) error { return unix.Mkfifo(path, 0o600) },
	"a device": func(path string) error { return unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))) }, // /dev/zero
	"a folder": func(path string) error { return os.Mkdir(path, 0o700) },
	"a socket": func(path string) error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	},
	"a link":      func(path string) error { return os.Symlink(filepath.Join(filepath.Dir(path), "target"), path) },
	"a loop":      func(path string) error { return os.Symlink(path, path) },
	"a huge file": func(path string) error { return os.WriteFile(path, nil, 0o600) }, // and then truncated to size
}

// TestOddFiles: whatever stands where the lock, the address reserved last, or a
// lease belongs, no call hangs, reads it all, or writes to it or through it.
func TestOddFiles(t *testing.T) {
	t.Parallel()
	ranges := sets(t, "10.0.0.0/24")
	for kind, put := range odd {
		for _, name := range []string{lockName, lastName + "0", "10.0.0.3"} {
			t.Run(fmt.Sprint(kind, " at ", name), func(t *testing.T) {
				t.Parallel()
				if kind == "a device" {
					kerneltest.NeedsRoot(t, "a device's file")
				}
				dir, err := os.MkdirTemp("", "odd") // a path that is short enough for a socket
				must(t, err)
				t.Cleanup(func() { os.RemoveAll(dir) })
				s, folder := networkIn(t, dir)
				mustAdd(t, s, Request{Owner: own("a"), Netns: "/proc/self/ns/net", Sets: ranges})
				path := filepath.Join(folder, name)
				_ = os.Remove(path)
				must(t, put(path))
				usable := kind == "a huge file" && name != "10.0.0.3"
				if kind == "a huge file" {
					must(t, os.Truncate(path, 1<<40))
				}
				inTime(t, "all verbs", func() {
					_ = s.Check(own("a"), nil)
					_ = s.Status(ranges)
					_, dryErr := s.Preview(Request{Owner: own("b"), Netns: "/proc/self/ns/net", Sets: ranges})
					leases, err := s.Add(Request{Owner: own("b"), Netns: "/proc/self/ns/net", Sets: ranges})
					switch {
					case name == "10.0.0.3" && kind == "a huge file": // which is torn
						if got := text(leases); err != nil || dryErr != nil || got != "10.0.0.3" {
							t.Errorf("ADD gave %s, %v", got, err)
						}
					case name == "10.0.0.3":
						if got := text(leases); err != nil || dryErr != nil || got != "10.0.0.4" {
							t.Errorf("ADD gave %s, %v", got, err)
						}
					case usable:
						must(t, err)
					case err == nil:
						t.Errorf("ADD gave %s", text(leases))
					}
					must(t, s.GC([]Owner{own("a")}))
					must(t, s.Del(own("a")))
					if err := s.Check(own("a"), nil); !errors.Is(err, fs.ErrNotExist) {
						t.Errorf("after DEL: %v", err)
					}
				})
				if name == lockName && !usable { // which GC has set aside
					mustAdd(t, s, Request{Owner: own("c"), Netns: "/proc/self/ns/net", Sets: ranges})
					path = filepath.Join(folder, ".damaged-"+lockName)
				}
				if st, err := os.Lstat(path); kind != "a huge file" && (err != nil || st.Mode().IsRegular()) {
					t.Errorf("%s became %v, %v", path, st, err)
				}
				if _, err := os.Lstat(filepath.Join(folder, "target")); err == nil {
					t.Error("the link was followed")
				}
			})
		}
	}
}

// TestLockIsRenewedOnce: of many DELs that find no lock in its place each has the same new one, so that none of them works
// beside another.
func TestLockIsRenewedOnce(t *testing.T) {
	t.Parallel()
	ranges := sets(t, "10.0.0.0/24")
	s, folder := aNetwork(t)
	const pods = 20
	for i := range pods {
		mustAdd(t, s, Request{Owner: own(fmt.Sprint("p", i)), Netns: "/proc/self/ns/net", Sets: ranges})
	}
	path := filepath.Join(folder, lockName)
	must(t, os.Remove(path))
	must(t, unix.Mkfifo(path, 0o600))
	var all sync.WaitGroup
	inodes, errs := make([]uint64, pods), make([]error, pods)
	for i := range pods {
		all.Go(func() {
			var lock *os.File
			if lock, errs[i] = s.openLock(existing); errs[i] == nil {
				var st unix.Stat_t
				errs[i] = unix.Fstat(int(lock.Fd()), &st)
				inodes[i] = st.Ino
				lock.Close()
			}
			errs[i] = errors.Join(errs[i], s.Del(own(fmt.Sprint("p", i))))
		})
	}
	all.Wait()
	must(t, errors.Join(errs...))
	if len(slices.Compact(inodes)) != 1 || len(s.list(t)) != 0 {
		t.Errorf("the locks are %v, and left are %v", inodes, s.list(t))
	}
}

// TestIndexThatIsALink: what a link in the index's place leads to is not touched.
func TestIndexThatIsALink(t *testing.T) {
	t.Parallel()
	ranges := sets(t, "10.0.0.0/24")
	for _, inside := range []bool{false, true} {
		s, folder := aNetwork(t)
		other := t.TempDir()
		if inside {
			other = filepath.Join(folder, "other")
		}
		must(t, os.MkdirAll(folder, 0o700))
		write(t, filepath.Join(other, "precious"), "text")
		must(t, os.Symlink("nowhere", filepath.Join(other, hash("a"))))
		must(t, os.Symlink(other, filepath.Join(folder, indexDir)))
		stamp := time.Unix(1e9, indexStamp)
		must(t, os.Chtimes(other, stamp, stamp))
		must(t, os.Chtimes(folder, stamp, stamp))
		for _, id := range []string{"a", "b", "c"} {
			mustAdd(t, s, Request{Owner: own(id), Netns: aNetns(t), Sets: ranges})
		}
		must(t, s.Check(own("a"), nil))
		must(t, s.Del(own("a")))
		must(t, s.GC([]Owner{own("c")}))
		must(t, s.FreeDead())
		must(t, s.Del(own("unknown")))
		if list := s.list(t); len(list) != 1 || list[0].owner != own("c") {
			t.Errorf("the leases are %v", list)
		}
		entries, err := os.ReadDir(other)
		must(t, err)
		st, err := os.Stat(other)
		if must(t, err); len(entries) != 2 || !st.ModTime().Equal(stamp) {
			t.Errorf("the folder behind the link has %v, changed at %v", entries, st.ModTime())
		}
		if st, err := os.Lstat(filepath.Join(folder, indexDir)); err != nil || st.Mode().Type() != fs.ModeSymlink {
			t.Errorf("the link became %v, %v", st, err)
		}
	}
}

// TestNetworkThatIsALink: the folder that it leads to is nobody's here.
func TestNetworkThatIsALink(t *testing.T) {
	t.Parallel()
	ranges, dir, other := sets(t, "10.0.0.0/24"), t.TempDir(), t.TempDir()
	s, folder := networkIn(t, dir)
	write(t, filepath.Join(other, "10.0.0.2"), "a\r\neth0")
	must(t, os.Symlink(other, folder))
	_, add := s.Add(Request{Owner: own("b"), Netns: "/proc/self/ns/net", Sets: ranges})
	for verb, err := range map[string]error{"ADD": add, "DEL": s.Del(own("a")), "GC": s.GC(nil), "CHECK": s.Check(own("a"), nil), "STATUS": s.Status(ranges)} {
		if err == nil || !strings.Contains(err.Error(), folder+" is no folder") {
			t.Errorf("%s: %v", verb, err)
		}
	}
	if entries, err := os.ReadDir(other); err != nil || len(entries) != 1 {
		t.Errorf("the folder behind the link has %v", entries)
	}
}
