package lease

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pods is a network whose pods' names are remembered.
type pods struct {
	*Store
	t    *testing.T
	sets []Set
}

func somePods(t *testing.T, texts ...string) pods {
	s, _ := aNetwork(t)
	return pods{s, t, sets(t, texts...)}
}

func (p pods) request(id, pod string) Request {
	return Request{Owner: own(id), Netns: "/proc/self/ns/net", Sets: p.sets, Sticky: true, Identity: pod}
}

// add attaches container id of a pod, and wants these addresses for it.
func (p pods) add(id, pod, want string) {
	p.t.Helper()
	foreseen, err := p.Preview(p.request(id, pod))
	must(p.t, err)
	if got := mustAdd(p.t, p.Store, p.request(id, pod)); got != want || text(foreseen) != want {
		p.t.Errorf("%s of pod %q got %s, foreseen %s, want %s", id, pod, got, text(foreseen), want)
	}
}

func (p pods) del(id string) {
	p.t.Helper()
	must(p.t, p.Del(own(id)))
}

// remembered lists the files of the memory.
func (p pods) remembered() (all []string) {
	entries, err := os.ReadDir(p.recall("").path)
	if err != nil && !os.IsNotExist(err) {
		p.t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestSticky(t *testing.T) {
	t.Parallel()
	p := somePods(t, "10.0.0.0/29", "fd00::/64")
	p.add("a1", "web-0", "10.0.0.2 fd00::2")
	p.add("b1", "web-1", "10.0.0.3 fd00::3")
	p.del("a1")
	p.add("c1", "", "10.0.0.4 fd00::4")
	p.del("b1")
	// Both come back, in another order, and the round goes on where it was.
	p.add("b2", "web-1", "10.0.0.3 fd00::3")
	p.add("a2", "web-0", "10.0.0.2 fd00::2")
	p.add("d1", "", "10.0.0.5 fd00::5")
	// While one is gone others get what is nobody's first: 6, then its own.
	p.del("a2")
	p.del("c1")
	p.add("e1", "", "10.0.0.6 fd00::6")
	p.add("f1", "other", "10.0.0.4 fd00::7")
	p.add("g1", "", "10.0.0.2 fd00::8")
	// What others needed is lost, and only that; the new address is remembered.
	p.del("f1")
	p.add("a3", "web-0", "10.0.0.4 fd00::2")
	p.del("a3")
	p.add("a4", "web-0", "10.0.0.4 fd00::2")
	// Wishes come before.
	p.del("b2")
	req := p.request("b3", "web-1")
	p.del("g1")
	req.Requested = []netip.Addr{addr("10.0.0.2")}
	if got := mustAdd(t, p.Store, req); got != "10.0.0.2 fd00::3" {
		t.Errorf("who wished 10.0.0.2 got %s", got)
	}
}

// A name that comes back while its lease is still there gets the address only
// where the lease is given up.
func TestStickyTakesOverFromTheDead(t *testing.T) {
	t.Parallel()
	p := somePods(t, "10.0.0.0/24")
	p.add("a1", "web-0", "10.0.0.2")
	p.add("a2", "web-0", "10.0.0.3")
	p.del("a2")
	dead := p.request("b1", "web-1")
	dead.Netns = aNetns(t)
	mustAdd(t, p.Store, dead)
	must(t, os.Remove(dead.Netns))
	p.add("b2", "web-1", "10.0.0.4")
	p.del("b1") // which holds nothing any more
	must(t, p.Check(own("b2"), []netip.Addr{addr("10.0.0.4")}))
}

// The memory is beside the network: upstream's walk does not meet it, and
// names of any kind stay inside.
func TestStickyNames(t *testing.T) {
	t.Parallel()
	p := somePods(t, "10.0.0.0/24")
	for i, pod := range []string{"../../../../etc", "a/b", "a\x00b", strings.Repeat("x", 1<<16), "10.0.0.9", "\n", "\xff", "-"} {
		want := fmt.Sprint("10.0.0.", 2+i)
		p.add(fmt.Sprint("c", i), pod, want)
		p.del(fmt.Sprint("c", i))
		p.add(fmt.Sprint("d", i), pod, want)
	}
	var names []string
	must(t, filepath.WalkDir(filepath.Dir(p.Path()), func(path string, d os.DirEntry, err error) error {
		rel, _ := filepath.Rel(filepath.Dir(p.Path()), path)
		if d.IsDir() {
			names = append(names, rel)
			if st, _ := os.Stat(path); d.Name() == "net" && rel != "net" && st.Mode().Perm() != 0o700 {
				t.Errorf("the mode of %s is %o", path, st.Mode().Perm())
			}
		}
		return err
	}))
	if got := strings.Join(names, " "); got != ". .sticky .sticky/net net net/.catena" {
		t.Errorf("the folders are %s", got)
	}
	if got := len(p.remembered()); got != 8 {
		t.Errorf("%d files for 8 names", got)
	}
	path := filepath.Join(p.recall("").path, "10.0.0.3-"+hash("a/b"))
	if text, err := os.ReadFile(path); err != nil || string(text) != "a/b" {
		t.Errorf("the file of 10.0.0.3 says %q, %v", text, err)
	}
}

// However many names come and go, the memory does not grow past its limit, and
// the names of those who are there, and of those who came last, are kept.
func TestStickyIsBounded(t *testing.T) {
	t.Parallel()
	s, _ := networkIn(t, inMemory(t))
	p := pods{s, t, sets(t, "10.0.0.0/8")}
	p.add("a1", "web-0", "10.0.0.2")
	memory := p.recall("").path
	for round := range 2 {
		// Others fill the memory, and these are too many for it.
		for i := len(p.remembered()); i < stickyMax-2; i++ {
			addr := netip.AddrFrom4([4]byte{10, byte(100 + round), byte(i >> 8), byte(i)})
			write(t, filepath.Join(memory, fileOf(addr, hash(fmt.Sprint("filler-", round, i)))), "")
		}
		var had string
		for i := range 8 {
			had = mustAdd(t, s, p.request("job", fmt.Sprint("job-", round, i)))
			p.del("job")
		}
		p.add("job", fmt.Sprint("job-", round, 7), had)
		p.del("job")
		if got := len(p.remembered()); got > stickyMax*3/4+16 || got < stickyMax/2 {
			t.Errorf("%d files after names for more than %d", got, stickyMax)
		}
	}
	p.del("a1")
	p.add("a2", "web-0", "10.0.0.2")
}

// An address that upstream has given to somebody else is not waited for, and GC
// forgets no name.
func TestStickyAfterUpstream(t *testing.T) {
	t.Parallel()
	p := somePods(t, "10.0.0.0/24")
	p.add("a1", "web-0", "10.0.0.2")
	p.add("b1", "web-1", "10.0.0.3")
	p.del("a1")
	write(t, filepath.Join(p.Path(), "10.0.0.2"), "c1"+lineBreak+"eth0")
	must(t, p.GC(nil)) // nobody is left, but both are remembered
	write(t, filepath.Join(p.Path(), "10.0.0.2"), "c1"+lineBreak+"eth0")
	p.add("b2", "web-1", "10.0.0.3")
	p.add("a2", "web-0", "10.0.0.4")
	p.del("a2")
	p.add("a3", "web-0", "10.0.0.4")
	if got := strings.Join(p.remembered(), " "); got != "10.0.0.3-"+hash("web-1")+" 10.0.0.4-"+hash("web-0") {
		t.Errorf("the files are %s", got)
	}
}

// Whatever stands in the memory's place, calls succeed.
func TestStickyMemoryThatIsWrong(t *testing.T) {
	t.Parallel()
	p := somePods(t, "10.0.0.0/24")
	write(t, filepath.Join(filepath.Dir(p.Path()), stickyDir), "a file where the folder should be")
	p.add("a1", "web-0", "10.0.0.2")
	p.del("a1")
	p.add("a2", "web-0", "10.0.0.3")
	must(t, os.Remove(filepath.Join(filepath.Dir(p.Path()), stickyDir)))
	p.add("b1", "web-1", "10.0.0.4")
	other := t.TempDir()
	for _, link := range p.remembered() {
		path := filepath.Join(p.recall("").path, link)
		must(t, os.Remove(path))
		must(t, os.Symlink(filepath.Join(other, "target"), path))
	}
	p.del("b1")
	p.add("b2", "web-1", "10.0.0.4") // a name is a name
	p.del("b2")
	for _, name := range []string{"nonsense", "10.0.0.300-" + hash("web-1"), "10.0.0.9", "10.0.0.5-", "-" + hash("web-1")} {
		write(t, filepath.Join(p.recall("").path, name), "")
	}
	must(t, os.Mkdir(filepath.Join(p.recall("").path, "10.0.0.6-"+hash("x")), 0o700))
	p.add("b3", "web-1", "10.0.0.4")
	p.add("c1", "web-2", "10.0.0.5")
	if entries, _ := os.ReadDir(other); len(entries) != 0 {
		t.Errorf("through a link was made %v", entries)
	}
	// A link to a folder is no memory, wherever it stands.
	for _, link := range []string{filepath.Dir(p.recall("").path), p.recall("").path} {
		must(t, os.RemoveAll(link))
		must(t, os.MkdirAll(filepath.Dir(link), 0o700))
		must(t, os.MkdirAll(filepath.Join(other, "net"), 0o700))
		must(t, os.Symlink(other, link))
		write(t, filepath.Join(other, "net", "10.0.0.7-"+hash("web-2")), "")
		write(t, filepath.Join(other, "10.0.0.7-"+hash("web-2")), "")
		p.del("c1")
		p.add("c1", "web-3", map[bool]string{true: "10.0.0.6", false: "10.0.0.7"}[link == filepath.Dir(p.recall("").path)])
		if entries, _ := os.ReadDir(other); len(entries) != 2 {
			t.Errorf("a link at %s: behind it are %v", link, entries)
		}
		must(t, os.Remove(link))
	}
	must(t, p.GC(nil))
}

// Where others are remembered for all that is free, the round goes on as
// ever, and what it costs does not grow.
func TestStickyEverythingRemembered(t *testing.T) {
	t.Parallel()
	p := somePods(t, "10.0.0.0/16")
	p.sets = sets(t, "10.0.0.0/16 10.0.0.2-10.0.2.255")
	for i := range 3 * 256 {
		id := fmt.Sprint("c", i)
		mustAdd(t, p.Store, p.request(id, id))
		p.del(id)
	}
	held := len(p.remembered())
	p.add("x", "another", "10.0.0.4") // the round has come by twice
	if got := len(p.remembered()); got > held+1 {
		t.Errorf("the memory had %d files and has %d", held, got)
	}
}
