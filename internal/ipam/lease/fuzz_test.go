package lease

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzFiles puts any text where leases, the address given last, the index and what is
// remembered are: no address is given twice, one that is taken is given back, and a
// lease that another holds stays as it is.
func FuzzFiles(f *testing.F) {
	ranges := sets(f, "10.0.0.0/28")
	for _, text := range []string{
		"c1\r\neth0", "c1", " c1 \r\n eth0 \n", "c1\neth0", "", "\x00", "c1\r\neth0\r\nmore", "\xff\xfe", strings.Repeat("c", leaseMax+1), "10.0.0.9",
		"10.0.0.300", "::ffff:10.0.0.9", `{"10.0.0.3":{}}`, `{"10.0.0.3":{"at":1,"boot":"b","netns":{"path":"/n"}}}`, `{"10.9.9.9":{}}`, "null", "[]", "../x",
	} {
		f.Add(text, text, text)
	}
	f.Fuzz(func(t *testing.T, lease, last, record string) {
		s, folder := aNetwork(t)
		mustAdd(t, s, Request{Owner: own("other"), Sets: ranges})
		for file, text := range map[string]string{"10.0.0.3": lease, lastName + "0": last, "lock": last} {
			write(t, filepath.Join(folder, file), text)
		}
		if link := strings.ReplaceAll(record, "\x00", ""); link != "" && len(link) < 4000 {
			_ = os.Remove(filepath.Join(folder, indexDir, hash("c1")))
			if err := os.Symlink(link, filepath.Join(folder, indexDir, hash("c1"))); err != nil {
				t.Fatal(err)
			}
		}
		theirs := parseLease(lease)
		taken := map[string]bool{"10.0.0.2": true}
		if (theirs != Owner{}) {
			taken["10.0.0.3"] = true
		}
		for _, id := range []string{"c5", "c6"} {
			got := mustAdd(t, s, Request{Owner: own(id), Sets: ranges})
			if taken[got] {
				t.Errorf("%s is given twice", got)
			}
			taken[got] = true
			address := netip.MustParseAddr(got)
			if err := s.Check(own(id), []netip.Addr{address}); err != nil {
				t.Error(err)
			}
			if err := s.Del(own(id)); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(filepath.Join(folder, address.String())); err == nil {
				t.Errorf("%s is not given back", got)
			}
			taken[got] = false
		}
		if text, err := os.ReadFile(filepath.Join(folder, "10.0.0.3")); (theirs != Owner{}) && (err != nil || string(text) != lease) {
			t.Errorf("the lease %q is %q: %v", lease, text, err)
		}
		if err := s.GC([]Owner{own("other")}); err != nil {
			t.Error(err)
		}
		if held := leaseFiles(t, folder); len(held) != 1 {
			t.Errorf("after GC: %v", held)
		}
	})
}

// leaseFiles are the files that are named as addresses.
func leaseFiles(t *testing.T, folder string) (out []string) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, ok := parseName(e.Name()); ok {
			out = append(out, e.Name())
		}
	}
	return out
}

// FuzzNames reads the names of files: one that is an address has that address's text, and
// what is remembered of an identity is found by it.
func FuzzNames(f *testing.F) {
	for _, name := range []string{"10.0.0.3", "10.0.0.03", "fd00::3", "FD00::3", "fd00:0::3", "::ffff:10.0.0.3", "fe80::1%eth0", "lock", "last_reserved_ip.0", ""} {
		f.Add(name, "ns;pod")
	}
	f.Fuzz(func(t *testing.T, name, identity string) {
		addr, ok := parseName(name)
		if !ok {
			return
		}
		if addr.Is4() && addr.String() != name || addr.Zone() != "" {
			t.Errorf("%q is %v", name, addr)
		}
		if back, ok := parseName(addr.String()); !ok || back != addr {
			t.Errorf("%v is not found", addr)
		}
		s, _ := aNetwork(t)
		if identity == "" {
			return
		}
		write(t, filepath.Join(s.recall(identity).path, fileOf(addr, hash(identity))), identity)
		if had := s.recall(identity).had; len(had) != 1 || had[0] != addr {
			t.Errorf("%q had %v, not %v", identity, had, addr)
		}
	})
}
