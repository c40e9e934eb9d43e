package hostlocal

import (
	"reflect"
	"strings"
	"testing"
)

// FuzzResolvConf: what is read of any text is words of it, and the same when it is written
// as such a file.
func FuzzResolvConf(f *testing.F) {
	f.Add("# of nobody\n; nor this\nnameserver 10.0.0.53\n\tnameserver  fd00::53 \ndomain a.example\nsearch x y\nsearch z\noptions ndots:5 rotate\nnameserver\n")
	f.Add("search " + strings.Repeat("a ", 10000))
	f.Add("nameserver\x00 x\nnameserver ;\r\noptions\v1\u00a02")
	f.Fuzz(func(t *testing.T, text string) {
		d := parseResolvConf(text)
		var lines []string
		for _, n := range d.Nameservers {
			lines = append(lines, "nameserver "+n)
		}
		lines = append(lines, "domain "+d.Domain, "search "+strings.Join(d.Search, " "), "options "+strings.Join(d.Options, " "))
		if again := parseResolvConf(strings.Join(lines, "\n")); !reflect.DeepEqual(again, d) {
			t.Errorf("%q: %+v, and again %+v", text, d, again)
		}
	})
}
