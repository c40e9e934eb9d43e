package lease

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

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
	was, err := os.Stat(file)
	must(t, err)
	must(t, os.Remove(file))
	for st := was; !st.ModTime().After(was.ModTime()); st, err = os.Stat(file) { // until a tick of the kernel's clock
		must(t, err)
		write(t, file, "a"+lineBreak+"eth0")
	}
	_, err = s.Add(Request{Owner: own("b"), Sets: one})
	wantErr(t, err, ErrFull)
}

func TestWrongIndexIsFoundOut(t *testing.T) {
	t.Parallel()
	s, dir := aNetwork(t)
	ranges := sets(t, "10.0.0.0/24")
	mustAdd(t, s, Request{Owner: own("a"), Netns: aNetns(t), Sets: ranges})
	mustAdd(t, s, Request{Owner: own("b"), Netns: aNetns(t), Sets: ranges})
	lie := func(id, target string) {
		link := filepath.Join(dir, indexDir, hash(id))
		os.Remove(link)
		must(t, os.Symlink(target, link))
		stamp := time.Unix(1e9, indexStamp)
		must(t, os.Chtimes(filepath.Join(dir, indexDir), stamp, stamp))
		must(t, os.Chtimes(dir, stamp, stamp))
		isComplete(t, s, true)
	}
	for _, target := range []string{
		"nonsense", "null", "{}", `{"10.0.0.3":{}}`, `{"10.0.0.77":{}}`, `{"10.0.0.2":{"at":"x"}}`, `{"10.0.0.2":{}, "10.0.0.77":{}}`,
		`{"..":{}}`, `{"10.0.0.2":{"netns":7}}`,
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
	stamp := time.Unix(1e9, indexStamp)
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

// indexIsRight fails if the index claims to be complete and is not.
func indexIsRight(t *testing.T, s *Store) {
	t.Helper()
	f, err := s.acquire(reading)
	must(t, err)
	defer f.close()
	if !f.complete {
		return
	}
	entries, err := f.all()
	must(t, err)
	must(t, f.unreadable)
	all := map[string]int{}
	for _, e := range entries {
		if !e.torn() {
			all[e.owner.ContainerID]++
		}
	}
	for container, want := range all {
		if got, ok := f.findIndexed(container); !ok || len(got) != want {
			t.Errorf("the index knows %v of %s, and it holds %d", got, container, want)
		}
	}
}
