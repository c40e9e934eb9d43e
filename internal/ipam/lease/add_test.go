package lease

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
	if got := mustAdd(t, s, ask("a", "fd00::7", "10.0.0.9", "10.0.0.9")); got != "10.0.0.9 fd00::7" {
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
				wantErr(t, err, os.ErrExist, "10.0.0.2", "container a", ns)
				wantErr(t, dryErr, os.ErrExist)
				return
			}
			must(t, err)
			must(t, dryErr)
			if text(leases) != "10.0.0.2 fd00::2" || text(dry) != text(leases) {
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

func TestLargeRanges(t *testing.T) {
	t.Parallel()
	s, dir := aNetwork(t)
	write(t, filepath.Join(dir, "last_reserved_ip.0"), "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
	if got := mustAdd(t, s, Request{Owner: own("a"), Sets: sets(t, "fc00::/7", "0.0.0.0/0")}); got != "fc00::2 0.0.0.2" {
		t.Errorf("got %s", got)
	}
}

func TestExcluded(t *testing.T) {
	t.Parallel()
	s, dir := aNetwork(t)
	less := setsLess(t, "10.0.0.4/31 fd00::/65", "10.0.0.0/29", "fd00::/64 fd00::2-fd00::8000:0:0:1")
	ask := func(id string, addrs ...string) Request {
		req := Request{Owner: own(id), Netns: aNetns(t), Sets: less}
		for _, a := range addrs {
			req.Requested = append(req.Requested, addr(a))
		}
		return req
	}
	for id, want := range map[string]string{"4": "10.0.0.4", "5": "10.0.0.5", "6": "fd00::2"} {
		_, err := s.Add(ask("r"+id, want))
		wantErr(t, err, ErrInvalid, "requested address "+want, "it is excluded")
	}
	// Who held one before it was excluded gets another, and leaves it.
	write(t, filepath.Join(dir, "10.0.0.4"), "a"+lineBreak+"eth0")
	if got := mustAdd(t, s, ask("a")); got != "10.0.0.2 fd00::8000:0:0:0" {
		t.Errorf("a got %s", got)
	}
	if got := mustAdd(t, s, ask("b")); got != "10.0.0.3 fd00::8000:0:0:1" {
		t.Errorf("b got %s", got)
	}
	if got := files(t, dir); strings.Contains(got, "10.0.0.4") {
		t.Errorf("the excluded address is still held: %s", got)
	}
	four := less[:1]
	must(t, s.Status(four))
	if got := mustAdd(t, s, Request{Owner: own("c"), Netns: aNetns(t), Sets: four}); got != "10.0.0.6" {
		t.Errorf("c got %s", got)
	}
	wantErr(t, s.Status(four), ErrFull, "10.0.0.1-10.0.0.6 less what is excluded: 3 held by 3 containers")
	_, err := s.Add(Request{Owner: own("d"), Sets: four})
	wantErr(t, err, ErrFull, "less what is excluded")
}
