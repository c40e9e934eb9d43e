package lease

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
	}{
		{"id\r\neth0", Owner{"id", "eth0"}},
		{" id\r\neth0\n", Owner{"id", "eth0"}},
		{"id", Owner{"id", ""}},
		{"id\r\n", Owner{"id", ""}},
		{"kept for the printer", Owner{"kept for the printer", ""}},
		{"", Owner{}},
		{" \r\n", Owner{}},
		{"id\neth0", Owner{}},
		{"id\r\neth0\r\nx", Owner{}},
		{"i\x00d", Owner{}},
		{"\xffid", Owner{}},
		{strings.Repeat("x", leaseMax+1), Owner{}},
	} {
		if got := parseLease(c.in); got != c.want {
			t.Errorf("%q: got %+v", c.in, got)
		}
	}
}
