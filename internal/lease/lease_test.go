package lease

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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

func TestOrderIsUpstreams(t *testing.T) {
	t.Parallel()
	s, dir := aNetwork(t)
	two := sets(t, "10.0.0.0/29 10.0.0.1-10.0.0.3,10.0.1.0/29 10.0.1.1-10.0.1.3")
	add := func(id, want string) {
		t.Helper()
		if got := mustAdd(t, s, Request{Owner: own(id), Sets: two}); got != want {
			t.Errorf("%s got %s, want %s", id, got, want)
		}
		if last, _ := os.ReadFile(filepath.Join(dir, "last_reserved_ip.0")); string(last) != want {
			t.Errorf("last reserved is %s, want %s", last, want)
		}
	}
	add("a", "10.0.0.2")
	add("b", "10.0.0.3")
	add("c", "10.0.1.2")
	must(t, s.Del(own("b")))
	add("d", "10.0.1.3")
	add("e", "10.0.0.3")
	must(t, s.Del(own("e")))
	add("f", "10.0.0.3") // the last reserved comes last, but it comes
	must(t, s.Del(own("a")))
	write(t, filepath.Join(dir, "last_reserved_ip.0"), "10.9.9.9")
	add("g", "10.0.0.2")
	must(t, s.Del(own("c")))
	write(t, filepath.Join(dir, "last_reserved_ip.0"), "nonsense, and longer than any address would be")
	add("h", "10.0.1.2")
}

func TestRequested(t *testing.T) {
	t.Parallel()
	s, dir := aNetwork(t)
	ranges := sets(t, "10.0.0.0/24 10.0.0.0-10.0.0.255", "fd00::/64")
	ask := func(id string, addrs ...string) Request {
		req := Request{Owner: own(id), Netns: aNetns(t), Sets: ranges}
		for _, a := range addrs {
			req.Requested = append(req.Requested, addr(a))
		}
		return req
	}
	if got := mustAdd(t, s, ask("a", "fd00::7", "::ffff:10.0.0.9", "10.0.0.9")); got != "10.0.0.9 fd00::7" {
		t.Errorf("got %s", got)
	}
	if got := mustAdd(t, s, ask("b")); got != "10.0.0.10 fd00::8" {
		t.Errorf("after a request the order goes on at %s", got)
	}
	before := files(t, dir)
	for _, c := range []struct {
		addrs  []string
		target error
		words  []string
	}{
		{[]string{"fd00::20", "10.0.0.9"}, os.ErrExist, []string{"10.0.0.9", "container a", "eth0"}},
		{[]string{"10.0.0.1"}, ErrInvalid, []string{"10.0.0.1", "gateway"}},
		{[]string{"10.0.0.0"}, ErrInvalid, []string{"network address"}},
		{[]string{"10.0.0.255"}, ErrInvalid, []string{"broadcast"}},
		{[]string{"10.0.1.1"}, ErrInvalid, []string{"10.0.1.1", "fd00::1-fd00::ffff:ffff:ffff:ffff"}},
		{[]string{"10.0.0.30", "10.0.0.31", "10.0.0.32"}, ErrInvalid, []string{"10.0.0.31, 10.0.0.32"}},
		{[]string{"10.0.0.30", "fd00::8"}, os.ErrExist, []string{"container b"}},
	} {
		_, err := s.Add(ask("c", c.addrs...))
		wantErr(t, err, c.target, c.words...)
		_, dry := s.Preview(ask("c", c.addrs...))
		wantErr(t, dry, c.target, c.words...)
	}
	// last_reserved_ip.0 was moved by the last case, as it is upstream.
	if got := strings.Replace(files(t, dir), "last_reserved_ip.0=10.0.0.30", "last_reserved_ip.0=10.0.0.10", 1); got != before {
		t.Errorf("left %s\nwant %s", got, before)
	}
	if got := mustAdd(t, s, ask("c", "10.0.0.30", "fd00::20")); got != "10.0.0.30 fd00::20" {
		t.Errorf("got %s", got)
	}
}

func TestUndoTakesOnlyItsOwn(t *testing.T) {
	t.Parallel()
	s, dir := aNetwork(t)
	first := sets(t, "10.0.0.0/24")
	mustAdd(t, s, Request{Owner: own("a"), Netns: aNetns(t), Sets: first})
	mustAdd(t, s, Request{Owner: own("b"), Netns: aNetns(t), Sets: sets(t, "10.0.1.9/32")})
	before := files(t, dir)

	_, err := s.Add(Request{Owner: own("a"), Sets: sets(t, "10.0.2.0/24", "10.0.1.9/32")})
	wantErr(t, err, ErrFull, "10.0.1.9-10.0.1.9", "1 held by 1 containers")
	if got := strings.Replace(files(t, dir), "last_reserved_ip.0=10.0.2.2", "last_reserved_ip.0=10.0.1.9", 1); got != before {
		t.Errorf("left %s\nwant %s", got, before)
	}
	must(t, s.Check(own("a"), []netip.Addr{addr("10.0.0.2")}))
	isComplete(t, s, true)
}

func isComplete(t testing.TB, s *Store, want bool) {
	t.Helper()
	f, err := s.lock(preview)
	must(t, err)
	defer f.close()
	if f.complete != want {
		t.Errorf("the index is known to be complete: %v, want %v", f.complete, want)
	}
}

func TestUpstreamInBetween(t *testing.T) {
	t.Parallel()
	s, dir := aNetwork(t)
	ranges := sets(t, "10.0.0.0/24")
	mustAdd(t, s, Request{Owner: own("a"), Netns: aNetns(t), Sets: ranges})
	isComplete(t, s, true)

	write(t, filepath.Join(dir, "10.0.0.3"), "b"+lineBreak+"eth0")
	write(t, filepath.Join(dir, "10.0.0.9"), "b"+lineBreak+"eth0")
	write(t, filepath.Join(dir, "last_reserved_ip.0"), "10.0.0.9")
	isComplete(t, s, false)
	if got := mustAdd(t, s, Request{Owner: own("c"), Sets: ranges}); got != "10.0.0.10" {
		t.Errorf("got %s", got)
	}
	isComplete(t, s, true)
	must(t, s.Del(own("b")))
	isComplete(t, s, true)
	must(t, os.Remove(filepath.Join(dir, "10.0.0.2")))
	isComplete(t, s, false)
	wantErr(t, s.Check(own("a"), nil), os.ErrNotExist, "container a")
	must(t, s.Del(own("a")))
	if got := files(t, dir); got != "10.0.0.10=c|eth0 last_reserved_ip.0=10.0.0.10" {
		t.Errorf("left %s", got)
	}
}

// A record must not be believed of a file that upstream put in the place of
// the one it was made for.
func TestRecordSpeaksOfOneFile(t *testing.T) {
	t.Parallel()
	s, dir := aNetwork(t)
	one := sets(t, "10.0.0.5/32")
	ns := aNetns(t)
	mustAdd(t, s, Request{Owner: own("a"), Netns: ns, Sets: one})
	must(t, os.Remove(ns))
	file := filepath.Join(dir, "10.0.0.5")
	must(t, os.Remove(file))
	time.Sleep(10 * time.Millisecond) // a tick of the kernel's clock
	write(t, file, "a"+lineBreak+"eth0")
	_, err := s.Add(Request{Owner: own("b"), Sets: one})
	wantErr(t, err, ErrFull)
}

func TestWrongIndexIsFoundOut(t *testing.T) {
	t.Parallel()
	s, dir := aNetwork(t)
	ranges := sets(t, "10.0.0.0/24")
	mustAdd(t, s, Request{Owner: own("a"), Netns: aNetns(t), Sets: ranges})
	mustAdd(t, s, Request{Owner: own("b"), Netns: aNetns(t), Sets: ranges})
	lie := func(id, target string) {
		link := filepath.Join(dir, indexDir, own(id).key())
		os.Remove(link)
		must(t, os.Symlink(target, link))
		stamp := time.Unix(1e9, stampNanos)
		must(t, os.Chtimes(filepath.Join(dir, indexDir), stamp, stamp))
		must(t, os.Chtimes(dir, stamp, stamp))
		isComplete(t, s, true)
	}
	for _, target := range []string{
		"nonsense", "catena1 - 0:0 10.0.0.3@0 -", "catena1 - 0:0 10.0.0.77@0 -", "catena9 - 0:0 10.0.0.2@0 -",
		"catena1 - 0:0 ../x@0 -", "catena1 - 0:0  -", "catena1 - x 10.0.0.2@0 -",
	} {
		lie("a", target)
		must(t, s.Check(own("a"), nil))
	}
	must(t, s.Del(own("a")))
	if got := files(t, dir); got != "10.0.0.3=b|eth0 last_reserved_ip.0=10.0.0.3" {
		t.Errorf("left %s", got)
	}
	// A missing index is not one that knows of nothing.
	must(t, os.RemoveAll(filepath.Join(dir, indexDir)))
	stamp := time.Unix(1e9, stampNanos)
	must(t, os.Chtimes(dir, stamp, stamp))
	must(t, s.Del(own("b")))
	if got := files(t, dir); got != "last_reserved_ip.0=10.0.0.3" {
		t.Errorf("left %s", got)
	}
}

func TestIndexThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	s, dir := aNetwork(t)
	write(t, filepath.Join(dir, indexDir), "a file where the folder should be")
	ranges := sets(t, "10.0.0.0/24", "fd00::/64")
	ns := aNetns(t)
	for _, id := range []string{"a", "b"} {
		mustAdd(t, s, Request{Owner: own(id), Netns: ns, Sets: ranges})
	}
	must(t, s.Check(own("a"), nil))
	must(t, s.Del(own("a")))
	must(t, s.Del(own("unknown")))
	must(t, s.GC([]Owner{own("b")}))
	if got := files(t, dir); got != "10.0.0.3=b|eth0 fd00::3=b|eth0 last_reserved_ip.0=10.0.0.3 last_reserved_ip.1=fd00::3" {
		t.Errorf("left %s", got)
	}
}

func TestTornFilesAreFree(t *testing.T) {
	t.Parallel()
	s, dir := aNetwork(t)
	ranges := sets(t, "10.0.0.0/29")
	for i, content := range []string{"", "\x00\x00\x00\x00", "\xff\xfe\xfd", "a\r\neth0\r\nmore", strings.Repeat("x", 5000)} {
		write(t, filepath.Join(dir, fmt.Sprintf("10.0.0.%d", 2+i)), content)
	}
	want, err := s.Preview(Request{Owner: own("a"), Sets: ranges})
	must(t, err)
	for i, id := range []string{"a", "b", "c", "d", "e"} {
		got := mustAdd(t, s, Request{Owner: own(id), Netns: "/proc/self/ns/net", Sets: ranges})
		if got != fmt.Sprintf("10.0.0.%d", 2+i) || i == 0 && got != text(want) {
			t.Errorf("%s got %s", id, got)
		}
	}
	must(t, os.Truncate(filepath.Join(dir, "10.0.0.4"), 0))
	if got := mustAdd(t, s, Request{Owner: own("f"), Sets: ranges, Requested: []netip.Addr{addr("10.0.0.4")}}); got != "10.0.0.4" {
		t.Errorf("got %s", got)
	}
}

func TestParseLease(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		want Owner
		ok   bool
	}{
		{"id\r\neth0", Owner{"id", "eth0"}, true},
		{" id\r\neth0\n", Owner{"id", "eth0"}, true},
		{"id", Owner{"id", ""}, true},
		{"id\r\n", Owner{"id", ""}, true},
		{"kept for the printer", Owner{"kept for the printer", ""}, true},
		{"", Owner{}, false},
		{" \r\n", Owner{}, false},
		{"id\neth0", Owner{}, false},
		{"id\r\neth0\r\nx", Owner{}, false},
		{"i\x00d", Owner{}, false},
		{"\xffid", Owner{}, false},
		{strings.Repeat("x", leaseMax+1), Owner{}, false},
	} {
		if got, ok := parseLease([]byte(c.in)); got != c.want || ok != c.ok {
			t.Errorf("%q: got %+v, %v", c.in, got, ok)
		}
	}
}

func TestSameContainerAgain(t *testing.T) {
	t.Parallel()
	both := sets(t, "10.0.0.0/24", "fd00::/64")
	for _, c := range []struct {
		name  string
		leave func(t *testing.T, ns string) // what happens to the namespace
		kept  bool
	}{
		{"alive", func(*testing.T, string) {}, false},
		{"gone", func(t *testing.T, ns string) { must(t, os.Remove(ns)) }, true},
		{"another one", func(t *testing.T, ns string) { must(t, os.Rename(aNetns(t), ns)) }, true},
		{"its folder gone", func(t *testing.T, ns string) { must(t, os.RemoveAll(filepath.Dir(ns))) }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, dir := aNetwork(t)
			ns := aNetns(t)
			mustAdd(t, s, Request{Owner: own("a"), Netns: ns, Sets: both})
			mustAdd(t, s, Request{Owner: own("b"), Netns: aNetns(t), Sets: both})
			before := files(t, dir)
			c.leave(t, ns)
			again := Request{Owner: own("a"), Netns: aNetns(t), Sets: both}
			dry, dryErr := s.Preview(again)
			leases, err := s.Add(again)
			if files(t, dir) != before {
				t.Errorf("files became %s", files(t, dir))
			}
			if !c.kept {
				wantErr(t, err, os.ErrExist, "10.0.0.2", "container a", ns, "DEL")
				wantErr(t, dryErr, os.ErrExist)
				return
			}
			must(t, err)
			must(t, dryErr)
			if text(leases) != "10.0.0.2 fd00::2" || text(dry) != text(leases) || !leases[0].Kept {
				t.Errorf("got %v, foretold %v", leases, dry)
			}
			_, err = s.Add(Request{Owner: own("a"), Netns: ns, Sets: both})
			wantErr(t, err, os.ErrExist, again.Netns)
			isComplete(t, s, true)
		})
	}
	t.Run("made by upstream", func(t *testing.T) {
		t.Parallel()
		s, dir := aNetwork(t)
		write(t, filepath.Join(dir, "10.0.0.9"), "a"+lineBreak+"eth0")
		write(t, filepath.Join(dir, "10.0.0.10"), "old")
		for _, c := range []struct{ id, want string }{{"a", "10.0.0.9 fd00::2"}, {"old", "10.0.0.10 fd00::3"}} {
			if got := mustAdd(t, s, Request{Owner: own(c.id), Netns: aNetns(t), Sets: both}); got != c.want {
				t.Errorf("%s got %s", c.id, got)
			}
			_, err := s.Add(Request{Owner: own(c.id), Sets: both})
			wantErr(t, err, os.ErrExist)
		}
	})
	t.Run("with a request for another address", func(t *testing.T) {
		t.Parallel()
		s, dir := aNetwork(t)
		ns := aNetns(t)
		mustAdd(t, s, Request{Owner: own("a"), Netns: ns, Sets: both})
		must(t, os.Remove(ns))
		got := mustAdd(t, s, Request{Owner: own("a"), Netns: aNetns(t), Sets: both, Requested: []netip.Addr{addr("10.0.0.77")}})
		want := "10.0.0.77=a|eth0 fd00::2=a|eth0 last_reserved_ip.0=10.0.0.77 last_reserved_ip.1=fd00::2"
		if got != "10.0.0.77 fd00::2" || files(t, dir) != want {
			t.Errorf("got %s, files %s", got, files(t, dir))
		}
		must(t, s.Del(own("a")))
		isComplete(t, s, true)
	})
}

func TestFullSetGivesUpTheDead(t *testing.T) {
	t.Parallel()
	s, dir := aNetwork(t)
	four := sets(t, "10.0.0.0/29 10.0.0.2-10.0.0.5")
	nss := map[string]string{}
	for _, id := range []string{"a", "b", "c"} {
		nss[id] = aNetns(t)
		mustAdd(t, s, Request{Owner: own(id), Netns: nss[id], Sets: four})
	}
	file := filepath.Join(dir, "10.0.0.5")
	write(t, file, "up"+lineBreak+"eth0")
	next := Request{Owner: own("d"), Netns: aNetns(t), Sets: four}

	_, err := s.Add(next)
	wantErr(t, err, ErrFull, "10.0.0.2-10.0.0.5", "4 held by 4 containers", dir)
	wantErr(t, s.Status(four), ErrFull)

	must(t, os.Remove(nss["b"]))
	must(t, s.Status(four))
	dry, err := s.Preview(next)
	must(t, err)
	if got := mustAdd(t, s, next); got != "10.0.0.3" || text(dry) != got {
		t.Errorf("got %s, foretold %s", got, text(dry))
	}
	isComplete(t, s, true)
	must(t, s.Del(own("b")))
	must(t, s.Check(own("d"), []netip.Addr{addr("10.0.0.3")}))

	// What upstream made falls only to age and libcni's word together.
	next.Owner, next.Netns = own("e"), aNetns(t)
	refused := func(why string) {
		t.Helper()
		if _, err := s.Add(next); !errors.Is(err, ErrFull) {
			t.Fatalf("%s: %v", why, err)
		}
	}
	refused("young")
	old := time.Now().Add(-100 * 365 * 24 * time.Hour)
	must(t, os.Chtimes(file, old, old))
	cache := filepath.Join(s.CacheDir, "net-up-eth0")
	for _, content := range []string{`{"netns":"/proc/self/ns/net"}`, `{"netns":""}`, `{}`, `torn`} {
		write(t, cache, content)
		refused(content)
	}
	write(t, cache, `{"netns":"/nowhere/at/all"}`)
	if got := mustAdd(t, s, next); got != "10.0.0.5" {
		t.Errorf("got %s", got)
	}
	must(t, s.Del(next.Owner))
	write(t, file, "old")
	must(t, os.Chtimes(file, old, old))
	write(t, filepath.Join(s.CacheDir, "net-old-eth7"), `{"netns":"/proc/self/ns/net"}`)
	refused("an old lease of a live container")
	must(t, os.RemoveAll(s.CacheDir))
	if got := mustAdd(t, s, next); got != "10.0.0.5" {
		t.Errorf("got %s", got)
	}
}

func TestRequestTakesOverFromTheDead(t *testing.T) {
	t.Parallel()
	s, dir := aNetwork(t)
	ranges := sets(t, "10.0.0.0/24")
	ns := aNetns(t)
	req := Request{Owner: own("a"), Netns: ns, Sets: ranges, Requested: []netip.Addr{addr("10.0.0.9")}}
	mustAdd(t, s, req)
	must(t, os.Remove(ns))
	req.Owner = own("b")
	_, err := s.Preview(req)
	must(t, err)
	mustAdd(t, s, req)
	must(t, s.Del(own("a")))
	if got := files(t, dir); got != "10.0.0.9=b|eth0 last_reserved_ip.0=10.0.0.9" {
		t.Errorf("left %s", got)
	}
	isComplete(t, s, true)
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
	list, err := s.List()
	must(t, err)
	if len(list) != 3 || list[0].Netns != "/proc/self/ns/net" || list[0].Owner != own("b") || list[0].Abandoned != "" {
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

func TestPreviewChangesNothing(t *testing.T) {
	t.Parallel()
	s, dir := aNetwork(t)
	req := Request{Owner: own("z"), Sets: sets(t, "10.0.0.0/24", "fd00::/64")}
	dry, err := s.Preview(req)
	if must(t, err); text(dry) != "10.0.0.2 fd00::2" {
		t.Errorf("got %s", text(dry))
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the folder was made")
	}
	for i := range 30 {
		write(t, filepath.Join(dir, fmt.Sprintf("10.0.0.%d", 2+i)), "up"+lineBreak+"eth0")
	}
	before, _ := os.Stat(dir)
	dry, err = s.Preview(req)
	if must(t, err); text(dry) != "10.0.0.32 fd00::2" {
		t.Errorf("got %s", text(dry))
	}
	if after, _ := os.Stat(dir); !after.ModTime().Equal(before.ModTime()) {
		t.Error("the folder was changed")
	}
	if got := mustAdd(t, s, req); got != text(dry) {
		t.Errorf("foretold %s, got %s", text(dry), got)
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
	list, err := s.List()
	must(t, err)
	if len(list) != 100 {
		t.Errorf("%d leases are left in %s, want 100", len(list), dir)
	}
	isComplete(t, s, true)
}

func TestLargeRanges(t *testing.T) {
	t.Parallel()
	s, dir := aNetwork(t)
	write(t, filepath.Join(dir, "last_reserved_ip.0"), "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
	if got := mustAdd(t, s, Request{Owner: own("a"), Sets: sets(t, "fc00::/7", "0.0.0.0/0")}); got != "fc00::2 0.0.0.2" {
		t.Errorf("got %s", got)
	}
}

// countCalls runs the test named in a process of its own and returns how
// often it made each system call.
func countCalls(t *testing.T, test, dir string) map[string]int {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command(strace, "-f", "-o", trace, os.Args[0], "-test.run=^"+test+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), "LEASE_TEST_DIR="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(trace)
	must(t, err)
	_, text, _ = bytes.Cut(text, []byte("/marker-begin"))
	text, _, _ = bytes.Cut(text, []byte("/marker-end"))
	calls := make(map[string]int)
	for line := range bytes.Lines(text) {
		if call, _, ok := bytes.Cut(line, []byte("(")); ok {
			fields := bytes.Fields(call)
			calls[string(fields[len(fields)-1])]++
		}
	}
	return calls
}

// fill makes n leases as upstream would, from base+1 on, and the index.
func fill(t testing.TB, s *Store, base netip.Addr, n int) {
	t.Helper()
	must(t, os.MkdirAll(s.Path(), 0o700))
	at := base
	for i := range n {
		at = at.Next()
		fd, err := unix.Open(filepath.Join(s.Path(), at.String()), unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
		must(t, err)
		_, err = unix.Write(fd, fmt.Appendf(nil, "c%063d\r\neth0", i))
		must(t, err)
		unix.Close(fd)
	}
	must(t, s.Del(own("nobody"))) // completes the index
}

func TestOneFreeAddress(t *testing.T) {
	if dir := os.Getenv("LEASE_TEST_DIR"); dir != "" {
		s, _ := networkIn(t, dir)
		os.Stat("/marker-begin")
		got := mustAdd(t, s, Request{Owner: own("new"), Sets: sets(t, "10.1.0.0/16")})
		os.Stat("/marker-end")
		if got != "10.1.0.2" {
			t.Errorf("got %s", got)
		}
		return
	}
	t.Parallel()
	n := 65532
	if testing.Short() {
		n = 3000
	}
	dir := t.TempDir()
	s, _ := networkIn(t, dir)
	fill(t, s, addr("10.1.0.2"), n)
	write(t, filepath.Join(s.Path(), "last_reserved_ip.0"), "10.1.0.2")
	must(t, s.Del(own("nobody")))
	if n < 65532 {
		return
	}
	start := time.Now()
	must(t, s.Status(sets(t, "10.1.0.0/16")))
	t.Logf("STATUS took %v", time.Since(start))
	start = time.Now()
	dry, err := s.Preview(Request{Owner: own("new"), Sets: sets(t, "10.1.0.0/16")})
	must(t, err)
	t.Logf("finding %s took %v", text(dry), time.Since(start))
	calls := countCalls(t, "TestOneFreeAddress", dir)
	if opens, dirs := calls["openat"], calls["getdents64"]; opens > 40 || dirs == 0 || dirs > 65532/1000 {
		t.Errorf("%d opens and %d getdents: %v", opens, dirs, calls)
	}
}

// The price of a call is the same however many leases there are.
func TestCostIsConstant(t *testing.T) {
	both := sets(t, "10.0.0.0/8", "fd00::/64")
	if dir := os.Getenv("LEASE_TEST_DIR"); dir != "" {
		s, _ := networkIn(t, dir)
		os.Stat("/marker-begin")
		mustAdd(t, s, Request{Owner: own("new"), Netns: "/proc/self/ns/net", Sets: both})
		must(t, s.Check(own("new"), nil))
		must(t, s.Status(both))
		must(t, s.Del(own("new")))
		must(t, s.Del(own("unknown")))
		os.Stat("/marker-end")
		return
	}
	t.Parallel()
	// Calls of the store, without those by which Go starts threads.
	total := func(n int) (sum int) {
		dir := t.TempDir()
		s, _ := networkIn(t, dir)
		fill(t, s, addr("10.1.0.1"), n)
		calls := countCalls(t, "TestCostIsConstant", dir)
		for _, call := range []string{"openat", "read", "readlinkat", "newfstatat", "fstat", "unlinkat", "symlinkat", "getdents64", "pwrite64"} {
			sum += calls[call]
		}
		t.Logf("with %d leases: %v", n, calls)
		return sum
	}
	few, many := total(0), total(2000)
	if many > few+10 {
		t.Errorf("five calls take %d system calls with no lease and %d with 2000", few, many)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	s, dir := aNetwork(t)
	pair := sets(t, "10.0.0.8/31")
	must(t, s.Status(pair))
	if _, err := os.Stat(dir); err == nil {
		t.Error("STATUS made the folder")
	}
	for _, id := range []string{"a", "b"} {
		must(t, s.Status(pair))
		mustAdd(t, s, Request{Owner: own(id), Netns: "/proc/self/ns/net", Sets: pair})
	}
	wantErr(t, s.Status(pair), ErrFull, "10.0.0.8-10.0.0.9")
	must(t, s.Status(sets(t, "10.0.1.0/24")))
	must(t, os.Truncate(filepath.Join(dir, "10.0.0.9"), 0))
	must(t, s.Status(pair))

	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	inFile, _ := networkIn(t, file)
	wantErr(t, inFile.Status(pair), unix.ENOTDIR)
}

func TestKeysAreShortAndDiffer(t *testing.T) {
	t.Parallel()
	keys := []string{Owner{"a", "b"}.key(), Owner{"ab", ""}.key(), Owner{"a", ""}.key(), Owner{"", "ab"}.key()}
	slices.Sort(keys)
	if len(slices.Compact(keys)) != 4 || len(keys[0]) != keyLen {
		t.Errorf("keys %v", keys)
	}
}

// BenchmarkAddDense finds the one free address of 65,532.
func BenchmarkAddDense(b *testing.B) {
	s, _ := aNetwork(b)
	fill(b, s, addr("10.1.0.2"), 65532)
	write(b, filepath.Join(s.Path(), "last_reserved_ip.0"), "10.1.0.2")
	must(b, s.Del(own("nobody")))
	ranges := sets(b, "10.1.0.0/16")
	for b.Loop() {
		if _, err := s.Preview(Request{Owner: own("new"), Sets: ranges}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	for _, n := range []int{0, 1000, 60000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, _ := aNetwork(b)
			fill(b, s, addr("10.1.0.1"), n)
			ranges := sets(b, "10.0.0.0/8")
			for b.Loop() {
				if _, err := s.Add(Request{Owner: own("new"), Netns: "/proc/self/ns/net", Sets: ranges}); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				must(b, s.Del(own("new")))
				b.StartTimer()
			}
		})
	}
}

func BenchmarkDel(b *testing.B) {
	for _, n := range []int{0, 1000, 60000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, _ := aNetwork(b)
			fill(b, s, addr("10.1.0.1"), n)
			ranges := sets(b, "10.0.0.0/8")
			for b.Loop() {
				b.StopTimer()
				mustAdd(b, s, Request{Owner: own("new"), Netns: "/proc/self/ns/net", Sets: ranges})
				b.StartTimer()
				if err := s.Del(own("new")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
