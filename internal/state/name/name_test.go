package name

import (
	"strconv"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	a := Attachment{Network: "mynet", ContainerID: "12345678", IfName: "eth0"}
	if got := a.HostLink(); len(got) != 15 || !strings.HasPrefix(got, "veth") {
		t.Errorf("host link %q", got)
	}
	if a.Alias() != "mynet/12345678/eth0" || a.Comment() != a.Alias() {
		t.Errorf("alias %q", a.Alias())
	}
	if back, err := Parse(a.Alias()); err != nil || back != a {
		t.Errorf("%v %v", back, err)
	}
	mac := a.MAC("pod")
	if mac[0]&3 != 2 || mac.String() == a.MAC("host").String() {
		t.Errorf("%v is not a locally administered unicast address of its own", mac)
	}
}

// TestNamesAreTheirOwn: no two attachments share a name, however alike.
func TestNamesAreTheirOwn(t *testing.T) {
	seen := map[string]Attachment{}
	for _, a := range []Attachment{
		{"a", "bc", "eth0"}, {"ab", "c", "eth0"}, {"a", "b", "ceth0"}, {"a", "bc", "eth1"}, {"b", "bc", "eth0"}, {"a", "bd", "eth0"},
	} {
		for _, n := range []string{a.HostLink(), a.Key(), a.MAC("pod").String(), a.Comment()} {
			if other, taken := seen[n]; taken {
				t.Errorf("%v and %v share %s", a, other, n)
			}
			seen[n] = a
		}
	}
}

// TestBounded: what is too long for the kernel is cut, and stays its own.
func TestBounded(t *testing.T) {
	long := strings.Repeat("x", 190)
	a, b := Attachment{long, long, "eth0"}, Attachment{long, long, "eth1"}
	if len(a.Comment()) > 127 || len(a.Alias()) > 255 {
		t.Errorf("%d and %d bytes", len(a.Comment()), len(a.Alias()))
	}
	if a.Comment() == b.Comment() || a.Alias() == b.Alias() {
		t.Error("two attachments share a text")
	}
	if _, err := Parse(a.Comment()); err == nil {
		t.Error("text that was cut was read back")
	}
	for _, bad := range []string{"", "a/b", "a//c", "a/b/c/d", "just a text"} {
		if at, err := Parse(bad); err == nil {
			t.Errorf("%q was read as %v", bad, at)
		}
	}
}

// TestHashSpreads: of a hundred thousand alike texts none share a host link,
// and every digit is used alike.
func TestHashSpreads(t *testing.T) {
	links := map[string]bool{}
	var digits [16]int
	const n = 100000
	for i := range n {
		link := Attachment{"net", "container" + strconv.Itoa(i), "eth0"}.HostLink()
		if links[link] {
			t.Fatalf("%s twice", link)
		}
		links[link] = true
		digit, err := strconv.ParseUint(link[4:5], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		digits[digit]++
	}
	for digit, times := range digits {
		if times < n/16*9/10 || times > n/16*11/10 {
			t.Errorf("%x comes %d times first", digit, times)
		}
	}
}
