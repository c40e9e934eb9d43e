package lease

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

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
