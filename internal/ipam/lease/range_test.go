package lease

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func addr(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

func rng(subnet, start, end, gateway string) Range {
	return Range{netip.MustParsePrefix(subnet), addr(start), addr(end), addr(gateway)}
}

// sets makes range sets of texts such as "10.0.0.0/24", or
// "10.0.0.0/24 10.0.0.10-10.0.0.20", ranges of one set separated by commas.
func sets(t testing.TB, texts ...string) []Set {
	t.Helper()
	return setsLess(t, "", texts...)
}

// setsLess is sets without the prefixes that are named.
func setsLess(t testing.TB, exclude string, texts ...string) []Set {
	t.Helper()
	var config [][]Range
	for _, text := range texts {
		var set []Range
		for r := range strings.SplitSeq(text, ",") {
			subnet, bounds, _ := strings.Cut(r, " ")
			start, end, _ := strings.Cut(bounds, "-")
			set = append(set, rng(subnet, start, end, ""))
		}
		config = append(config, set)
	}
	s, err := allSets(config, exclude)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func allSets(config [][]Range, exclude string) (all []Set, err error) {
	for _, ranges := range config {
		for i := range ranges {
			if ranges[i], err = ranges[i].Complete(); err != nil {
				return nil, err
			}
		}
		set, err := NewSet(ranges, prefixes(exclude), all)
		if err != nil {
			return nil, err
		}
		all = append(all, set)
	}
	return all, nil
}

func prefixes(text string) (all []netip.Prefix) {
	for p := range strings.FieldsSeq(text) {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

func TestComplete(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		in, want Range
		err      string
	}{
		{"defaults of IPv4", rng("10.0.0.0/24", "", "", ""),
			rng("10.0.0.0/24", "10.0.0.1", "10.0.0.254", "10.0.0.1"), ""},
		{"defaults of IPv6", rng("fd00::/64", "", "", ""),
			rng("fd00::/64", "fd00::1", "fd00::ffff:ffff:ffff:ffff", "fd00::1"), ""},
		{"larger than /64", rng("fc00::/7", "", "", ""),
			rng("fc00::/7", "fc00::1", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fc00::1"), ""},
		{"everything given", rng("10.0.0.0/24", "10.0.0.5", "10.0.0.9", "192.168.0.1"),
			rng("10.0.0.0/24", "10.0.0.5", "10.0.0.9", "192.168.0.1"), ""},
		{"network and broadcast as bounds", rng("10.0.0.0/29", "10.0.0.0", "10.0.0.7", ""),
			rng("10.0.0.0/29", "10.0.0.0", "10.0.0.7", "10.0.0.1"), ""},
		{"/30", rng("10.0.0.4/30", "", "", ""), rng("10.0.0.4/30", "10.0.0.5", "10.0.0.6", "10.0.0.5"), ""},
		{"/31", rng("10.0.0.4/31", "", "", ""), rng("10.0.0.4/31", "10.0.0.4", "10.0.0.5", ""), ""},
		{"/31 one given", rng("10.0.0.4/31", "10.0.0.5", "", "10.0.0.4"),
			rng("10.0.0.4/31", "10.0.0.5", "10.0.0.5", "10.0.0.4"), ""},
		{"/32", rng("10.0.0.4/32", "", "", ""), rng("10.0.0.4/32", "10.0.0.4", "10.0.0.4", ""), ""},
		{"/127", rng("fd00::/127", "", "", ""), rng("fd00::/127", "fd00::", "fd00::1", ""), ""},
		{"/128", rng("fd00::7/128", "", "", ""), rng("fd00::7/128", "fd00::7", "fd00::7", ""), ""},

		{"no subnet", Range{}, Range{}, "no valid subnet"},
		{"host bits", rng("10.0.0.7/24", "", "", ""), Range{}, "host bits"},
		{"start outside", rng("10.0.0.0/24", "10.0.1.0", "", ""), Range{}, "rangeStart 10.0.1.0 is not in"},
		{"end outside", rng("10.0.0.0/24", "", "10.0.1.0", ""), Range{}, "rangeEnd 10.0.1.0 is not in"},
		{"other family", rng("10.0.0.0/24", "fd00::1", "", ""), Range{}, "rangeStart fd00::1 is not in"},
		{"a zone", rng("fe80::/64", "fe80::1%eth0", "", ""), Range{}, "is not in"},
		{"backwards", rng("10.0.0.0/24", "10.0.0.9", "10.0.0.8", ""), Range{}, "after"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.in.Complete()
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want one with %q", err, c.err)
				}
				return
			}
			if err != nil || got != c.want {
				t.Fatalf("got %+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}

func TestSetsRefuses(t *testing.T) {
	t.Parallel()
	ten, eleven, six := rng("10.0.0.0/24", "", "", ""), rng("11.0.0.0/24", "", "", ""), rng("fd00::/64", "", "", "")
	for _, c := range []struct {
		name    string
		config  [][]Range
		err     string
		exclude string
	}{
		{"two families", [][]Range{{ten, six}}, "mixes families", ""},
		{"overlap in a set", [][]Range{{ten, rng("10.0.0.0/16", "10.0.0.254", "", "")}}, "overlaps", ""},
		{"overlap of sets", [][]Range{{ten}, {eleven}, {rng("11.0.0.0/8", "", "11.0.0.1", "")}}, "overlaps", ""},
		{"all of a range excluded", [][]Range{{ten}, {six}}, "all of range 10.0.0.1-10.0.0.254 is excluded", "10.0.0.0/8"},
		{"all of IPv6 excluded", [][]Range{{ten}, {six}}, "all of range fd00::1", "::/0"},
		{"all but the gateway excluded", [][]Range{{rng("10.0.0.0/30", "", "", "")}}, "all of range 10.0.0.1-10.0.0.2", "10.0.0.2/32"},
		{"all of a range excluded, in parts", [][]Range{{eleven, ten}}, "range 10.0.0.1-10.0.0.254", "10.0.0.128/25 10.0.0.0/26 10.0.0.64/26"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := allSets(c.config, c.exclude); err == nil || !strings.Contains(err.Error(), c.err) {
				t.Fatalf("error %v, want one with %q", err, c.err)
			}
		})
	}
	if _, err := allSets([][]Range{{ten, rng("10.0.0.0/8", "10.0.1.0", "", "")}, {six}}, ""); err != nil {
		t.Errorf("two ranges side by side and a second family: %v", err)
	}
}

func TestRound(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, set, last, want, exclude string
	}{
		{"from the start, past the gateway", "10.0.0.0/29", "", "2 3 4 5 6", ""},
		{"after the last", "10.0.0.0/29", "10.0.0.4", "5 6 2 3 4", ""},
		{"after the end", "10.0.0.0/29", "10.0.0.6", "2 3 4 5 6", ""},
		{"after the gateway", "10.0.0.0/29", "10.0.0.1", "2 3 4 5 6", ""},
		{"the last in no range", "10.0.0.0/29", "10.0.9.1", "2 3 4 5 6", ""},
		{"network and broadcast as bounds", "10.0.0.0/29 10.0.0.0-10.0.0.7", "10.0.0.5", "6 2 3 4 5", ""},
		{"ranges in turn", "10.0.0.0/29 10.0.0.2-10.0.0.3,10.0.0.16/28 10.0.0.30-10.0.0.30,10.0.0.0/29 10.0.0.6-10.0.0.6", "10.0.0.3", "30 6 2 3", ""},
		{"one address, reserved last", "10.0.0.9/32", "10.0.0.9", "9", ""},
		{"a pair", "10.0.0.8/31", "", "8 9", ""},
		{"nothing but the gateway", "10.0.0.0/29 10.0.0.1-10.0.0.1", "", "", ""},
		{"an excluded address", "10.0.0.0/29", "", "2 3 5 6", "10.0.0.4/32"},
		{"excluded, one in the other", "10.0.0.0/28", "10.0.0.3", "8 9 10 11 12 13 14 2 3", "10.0.0.4/32 10.0.0.4/30 10.0.0.5/32 10.0.0.6/31 fd00::/64 10.9.0.0/16"},
		{"the first and the last excluded", "10.0.0.0/28", "", "4 5 6 7 8 9 10 11", "10.0.0.0/30 10.0.0.12/30"},
		{"the last reserved is excluded", "10.0.0.0/28", "10.0.0.5", "8 9 10 11 12 13 14 2 3", "10.0.0.4/30"},
		{"next is excluded, to the end of all", "10.0.0.0/28 10.0.0.1-10.0.0.9,10.0.0.16/28 10.0.0.17-10.0.0.20", "10.0.0.19", "2 3 8 9 18 19", "10.0.0.4/30 10.0.0.20/30"},
		{"across two ranges", "10.0.0.0/28 10.0.0.1-10.0.0.5,10.0.0.0/28 10.0.0.6-10.0.0.9", "", "2 3 8 9", "10.0.0.4/30"},
		{"half of all that there is", "0.0.0.0/0 127.255.255.254-128.0.0.1", "", "127.255.255.254 127.255.255.255", "128.0.0.0/1"},
		{"a huge exclusion", "fd00::/64 fd00::7fff:ffff:ffff:fffe-fd00::ffff:ffff:ffff:ffff", "", "fd00::7fff:ffff:ffff:fffe fd00::7fff:ffff:ffff:ffff", "fd00::8000:0:0:0/65"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for a := range setsLess(t, c.exclude, c.set)[0].from(addr(c.last)) {
				got = append(got, strings.TrimPrefix(a.String(), "10.0.0."))
			}
			if !slices.Equal(got, strings.Fields(c.want)) {
				t.Errorf("got %v, want %s", got, c.want)
			}
		})
	}
}
