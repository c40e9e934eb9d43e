package lease

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestFilesAreUpstreams(t *testing.T) {
	t.Parallel()
	s, dir := aNetwork(t)
	got := mustAdd(t, s, Request{Owner: own("a"), Sets: sets(t, "10.0.0.0/24", "fd00::/64")})
	if got != "10.0.0.2 fd00::2" {
		t.Errorf("got %s", got)
	}
	want := "10.0.0.2=a|eth0 fd00::2=a|eth0 last_reserved_ip.0=10.0.0.2 last_reserved_ip.1=fd00::2"
	if got := files(t, dir); got != want {
		t.Errorf("files %s, want %s", got, want)
	}
	for name, mode := range map[string]os.FileMode{"": 0o700, "10.0.0.2": 0o600, "last_reserved_ip.0": 0o600} {
		st, err := os.Stat(filepath.Join(dir, name))
		if must(t, err); st.Mode().Perm() != mode {
			t.Errorf("mode of %q is %o", name, st.Mode().Perm())
		}
	}
	must(t, s.Del(own("a")))
	if got := files(t, dir); got != "last_reserved_ip.0=10.0.0.2 last_reserved_ip.1=fd00::2" {
		t.Errorf("after DEL: %s", got)
	}
	must(t, s.Del(own("a")))

	must(t, os.Chmod(dir, 0o755))
	mustAdd(t, s, Request{Owner: own("a"), Sets: sets(t, "10.0.0.0/24")})
	if st, _ := os.Stat(dir); st.Mode().Perm() != 0o755 {
		t.Errorf("the mode of a folder that was there became %o", st.Mode().Perm())
	}
}

func TestDelIsPrecise(t *testing.T) {
	t.Parallel()
	s, dir := aNetwork(t)
	must(t, s.Del(own("nobody")))
	if _, err := os.Stat(dir); err == nil {
		t.Error("DEL made the folder")
	}
	for name, content := range map[string]string{
		"10.0.0.2": "a|eth0", "10.0.0.3": "a|eth1", "10.0.0.4": "a", "10.0.0.5": "ab|eth0", "fd00::2": "a|eth0", "10.0.0.6": "b",
		"note": "a|eth0", "last_reserved_ip.0": "10.0.0.6",
	} {
		write(t, filepath.Join(dir, name), strings.ReplaceAll(content, "|", lineBreak))
	}
	must(t, os.Mkdir(filepath.Join(dir, "10.0.0.7"), 0o755))
	left := func() string {
		var names []string
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), "10.") || strings.HasPrefix(e.Name(), "fd") {
				names = append(names, strings.TrimPrefix(e.Name(), "10.0.0."))
			}
		}
		return strings.Join(names, " ")
	}
	for _, c := range []struct {
		owner Owner
		want  string
	}{
		{Owner{"a", "eth0"}, "3 4 5 6 7"},
		{Owner{"a", "eth0"}, "3 5 6 7"}, // now the old form
		{Owner{"a", "eth0"}, "3 5 6 7"},
		{Owner{"b", "eth5"}, "3 5 7"},
		{Owner{"a", "eth1"}, "5 7"},
	} {
		must(t, s.Del(c.owner))
		if got := left(); got != c.want {
			t.Errorf("after DEL of %s: %s, want %s", c.owner, got, c.want)
		}
		isComplete(t, s, true)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	s, dir := aNetwork(t)
	wantErr(t, s.Check(own("a"), nil), os.ErrNotExist)
	mustAdd(t, s, Request{Owner: own("a"), Sets: sets(t, "10.0.0.0/24", "fd00::/64")})
	mustAdd(t, s, Request{Owner: own("b"), Sets: sets(t, "10.0.0.0/24")})
	write(t, filepath.Join(dir, "10.0.0.40"), "old")
	for _, c := range []struct {
		id, addrs string
		ok        bool
	}{
		{"a", "", true}, {"a", "10.0.0.2", true}, {"a", "10.0.0.2 fd00::2", true}, {"old", "", true}, {"old", "10.0.0.40", true},
		{"a", "10.0.0.3", false}, {"a", "10.0.0.2 10.0.0.9", false}, {"c", "", false},
	} {
		var want []netip.Addr
		for _, a := range strings.Fields(c.addrs) {
			want = append(want, addr(a))
		}
		err := s.Check(own(c.id), want)
		if c.ok != (err == nil) || !c.ok && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestGC(t *testing.T) {
	t.Parallel()
	s, dir := aNetwork(t)
	must(t, s.GC(nil))
	for _, id := range []string{"a", "b", "c"} {
		mustAdd(t, s, Request{Owner: own(id), Netns: "/proc/self/ns/net", Sets: sets(t, "10.0.0.0/24", "fd00::/64")})
	}
	write(t, filepath.Join(dir, "10.0.0.50"), "b")
	write(t, filepath.Join(dir, "10.0.0.51"), "d")
	write(t, filepath.Join(dir, "10.0.0.52"), "")
	must(t, s.GC([]Owner{own("b"), {"c", "eth1"}}))
	if got := files(t, dir); got != "10.0.0.3=b|eth0 10.0.0.50=b fd00::3=b|eth0 last_reserved_ip.0=10.0.0.4 last_reserved_ip.1=fd00::4" {
		t.Errorf("left %s", got)
	}
	isComplete(t, s, true)
	if list := s.list(t); len(list) != 3 || list[0].owner != own("b") {
		t.Errorf("the list is %+v", list)
	}
}

func TestNamesThatEscape(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", ".", "..", "a/b", "../x", "/x", strings.Repeat("x", 256), "a\nb", "a\x00", "\xff", " a"} {
		if _, err := Open("/nowhere", name); !errors.Is(err, ErrInvalid) {
			t.Errorf("network %q: %v", name, err)
		}
	}
	s, dir := aNetwork(t)
	for _, id := range []string{"", "a/b", "..", strings.Repeat("x", 256), "a\r\nb", "a "} {
		for _, o := range []Owner{{id, "eth0"}, {"a", id}} {
			_, err := s.Add(Request{Owner: o, Sets: sets(t, "10.0.0.0/24")})
			for _, err := range []error{err, s.Del(o), s.Check(o, nil)} {
				if !errors.Is(err, ErrInvalid) {
					t.Errorf("%q: %v", o, err)
				}
			}
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the folder was made")
	}
}

func TestManyAtATime(t *testing.T) {
	t.Parallel()
	s, dir := aNetwork(t)
	ranges := sets(t, "10.0.0.0/24", "fd00::/64")
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			o := own(fmt.Sprint("c", i))
			if _, err := s.Add(Request{Owner: o, Netns: "/proc/self/ns/net", Sets: ranges}); err != nil {
				t.Error(err)
			}
			if i%2 == 0 {
				if err := s.Del(o); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if list := s.list(t); len(list) != 100 {
		t.Errorf("%d leases are left in %s, want 100", len(s.list(t)), dir)
	}
	isComplete(t, s, true)
}

// A call that is killed anywhere leaves what the next call understands.
func TestKilled(t *testing.T) {
	both := sets(t, "10.0.0.0/24", "fd00::/64")
	if dir := os.Getenv("LEASE_TEST_KILL"); dir != "" {
		s, _ := networkIn(t, dir)
		for i := 0; ; i++ {
			o := own(fmt.Sprint("k", i%5))
			s.Add(Request{Owner: o, Netns: "/proc/self/ns/net", Sets: both})
			if i%3 != 0 {
				s.Del(o)
			}
		}
	}
	kerneltest.NeedsTime(t)
	t.Parallel()
	dir := t.TempDir()
	s, folder := networkIn(t, dir)
	mustAdd(t, s, Request{Owner: own("other"), Netns: "/proc/self/ns/net", Sets: both})
	for i := range 15 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "LEASE_TEST_KILL="+dir)
		must(t, cmd.Start())
		time.Sleep(time.Duration(15+i) * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		indexIsRight(t, s)
		for k := range 5 {
			must(t, s.Del(own(fmt.Sprint("k", k))))
		}
		for _, l := range s.list(t) {
			if l.owner != own("other") {
				t.Fatalf("left %s", files(t, folder))
			}
		}
		isComplete(t, s, true)
	}
}
