package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/ipam/static"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plugintest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

const two = `"addresses":[{"address":"10.1.2.3/24","gateway":"10.1.2.1"},{"address":"fd00::3/64","gateway":"fd00::1"}]`

// conf is a configuration whose ipam has the members given, and members beside it.
func conf(version, ipam, beside string) string {
	if ipam != "" {
		ipam = "," + ipam
	}
	return fmt.Sprintf(`{"cniVersion":%q,"name":"n","type":"bridge","ipam":{"type":"static"%s}%s}`, version, ipam, beside)
}

// given are the addresses and gateways of a printed result.
func given(stdout string) string {
	var words []string
	for line := range strings.Lines(stdout) {
		key, value, _ := strings.Cut(strings.TrimSpace(strings.ReplaceAll(line, ",", "")), ": ")
		switch key {
		case `"address"`:
			words = append(words, strings.Trim(value, `"`))
		case `"gateway"`:
			words = append(words, "via", strings.Trim(value, `"`))
		}
	}
	return strings.Join(words, " ")
}

// TestSources holds where addresses and gateways come from.
func TestSources(t *testing.T) {
	for _, row := range []struct {
		name, ipam, beside, args string
		want                     string
		warns                    string
	}{
		{name: "configuration", ipam: two, want: "10.1.2.3/24 via 10.1.2.1 fd00::3/64 via fd00::1"},
		{name: "without a gateway", ipam: `"addresses":[{"address":"10.1.2.3/24"}]`, want: "10.1.2.3/24"},
		{name: "gateway elsewhere", ipam: `"addresses":[{"address":"10.1.2.3/32","gateway":"169.254.1.1"}]`, want: "10.1.2.3/32 via 169.254.1.1"},
		{name: "mapped", ipam: `"addresses":[{"address":"::ffff:10.1.2.3/120","gateway":"::ffff:10.1.2.1"}]`, want: "10.1.2.3/24 via 10.1.2.1"},
		{name: "arguments come after", ipam: two, args: "IP=10.9.0.5/16,fd09::5/64", want: "10.1.2.3/24 via 10.1.2.1 fd00::3/64 via fd00::1 10.9.0.5/16 fd09::5/64"},
		{name: "gateways of arguments", args: "IP=10.9.0.5/16,fd09::5/64;GATEWAY=10.9.0.1,fd09::1", want: "10.9.0.5/16 via 10.9.0.1 fd09::5/64 via fd09::1"},
		{name: "gateway for the configuration's", ipam: `"addresses":[{"address":"10.1.2.3/24"}]`, args: "GATEWAY=10.1.2.254", want: "10.1.2.3/24 via 10.1.2.254"},
		{name: "a gateway that is there stays", ipam: two, args: "GATEWAY=10.1.2.254", want: "10.1.2.3/24 via 10.1.2.1 fd00::3/64 via fd00::1"},
		{name: "a gateway for nobody", ipam: two, args: "GATEWAY=10.7.7.7", want: "10.1.2.3/24 via 10.1.2.1 fd00::3/64 via fd00::1", warns: "10.7.7.7"},
		{name: "args.cni instead", ipam: two, args: "IP=10.9.0.5/16", beside: `,"args":{"cni":{"ips":["10.1.2.9/24"]}}`, want: "10.1.2.9/24 via 10.1.2.1"},
		{name: "the capability instead of all", ipam: two, beside: `,"args":{"cni":{"ips":["10.9.2.9/24"]}},"runtimeConfig":{"ips":["10.9.2.8/24","fd00::8/64"]}`, want: "10.9.2.8/24 fd00::8/64"},
		{name: "an empty capability", ipam: two, beside: `,"runtimeConfig":{"ips":[]}`, want: "10.1.2.3/24 via 10.1.2.1 fd00::3/64 via fd00::1"},
		{name: "the gateway's own address", ipam: two, beside: `,"runtimeConfig":{"ips":["10.1.2.1/24"]}`, want: "10.1.2.1/24"},
		{name: "a kubelet's arguments", ipam: two, args: "IgnoreUnknown=1;K8S_POD_NAME=web-0", want: "10.1.2.3/24 via 10.1.2.1 fd00::3/64 via fd00::1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			bin := kerneltest.Build(t, "plugins/ipam/static")
			s := kerneltest.New(t)
			before := s.Text()
			a := s.Must(kerneltest.Call{Bin: bin, Plugin: "static", Args: row.args, Conf: conf("1.0.0", row.ipam, row.beside)})
			if got := given(a.Stdout); got != row.want {
				t.Errorf("gives %s, not %s", got, row.want)
			}
			if (row.warns == "") != (a.Stderr == "") || !strings.Contains(a.Stderr, row.warns) {
				t.Errorf("stderr %q, not %q", a.Stderr, row.warns)
			}
			s.Same("an ADD of static", before, s.Text())
		})
	}
}

// TestBadInput: a clear error, and nothing has changed.
func TestBadInput(t *testing.T) {
	one := func(address, gateway string) string {
		return fmt.Sprintf(`"addresses":[{"address":%q,"gateway":%q}]`, address, gateway)
	}
	kerneltest.Refusals{
		Plugins: []string{"plugins/ipam/static"},
		Rows: []kerneltest.Refusal{
			{Name: "no address", Conf: conf("1.0.0", "", ""), Code: 7, Words: "no address to give"},
			{Name: "no prefix length", Conf: conf("1.0.0", one("10.1.2.3", ""), ""), Code: 7, Words: `ipam.addresses[0].address is "10.1.2.3"|10.1.2.3/24`},
			{Name: "length too large", Conf: conf("1.0.0", one("10.1.2.3/33", ""), ""), Code: 7, Words: "10.1.2.3/33"},
			{Name: "junk", Conf: conf("1.0.0", one("junk", ""), ""), Code: 7, Words: "junk"},
			{Name: "a zone", Conf: conf("1.0.0", one("fe80::1%eth0/64", ""), ""), Code: 7, Words: "fe80::1%eth0"},
			{Name: "no address at all", Conf: conf("1.0.0", one("0.0.0.0/0", ""), ""), Code: 7, Words: "0.0.0.0/0|no interface can have"},
			{Name: "multicast", Conf: conf("1.0.0", one("ff02::1/64", ""), ""), Code: 7, Words: "ff02::1"},
			{Name: "broadcast", Conf: conf("1.0.0", one("10.1.2.255/24", ""), ""), Code: 7, Words: "broadcast address"},
			{Name: "no gateway", Conf: conf("1.0.0", one("10.1.2.3/24", "10.1.2"), ""), Code: 7, Words: "ipam.addresses[0].gateway"},
			{Name: "gateway of the other family", Conf: conf("1.0.0", one("10.1.2.3/24", "fd00::1"), ""), Code: 7, Words: "another family"},
			{Name: "its own gateway", Conf: conf("1.0.0", one("10.1.2.3/24", "10.1.2.3"), ""), Code: 7, Words: "own address"},
			{Name: "twice", Conf: conf("1.0.0", two, ""), Args: "IP=10.1.2.3/16", Code: 7, Words: "10.1.2.3 is given twice"},
			{Name: "a list that is none", Conf: conf("1.0.0", `"addresses":"10.1.2.3/24"`, ""), Code: 6, Words: "addresses|list"},
			{Name: "junk in CNI_ARGS", Conf: conf("1.0.0", two, ""), Args: "IP=10.9.9.9", Code: 4, Words: "IP in CNI_ARGS"},
			{Name: "junk for a gateway", Conf: conf("1.0.0", two, ""), Args: "GATEWAY=x", Code: 4, Words: "GATEWAY in CNI_ARGS"},
			{Name: "unknown argument", Conf: conf("1.0.0", two, ""), Args: "IPS=10.9.9.9/8", Code: 4, Words: "IPS"},
			{Name: "junk in args", Conf: conf("1.0.0", two, `,"args":{"cni":{"ips":["x"]}}`), Code: 7, Words: "args.cni.ips[0]"},
			{Name: "junk in the capability", Conf: conf("1.0.0", two, `,"runtimeConfig":{"ips":["10.1.2.3"]}`), Code: 7, Words: "runtimeConfig.ips[0]"},
			{Name: "junk in routes", Conf: conf("1.0.0", two+`,"routes":[{"dst":"x"}]`, ""), Code: 7, Words: "ipam.routes[0].dst"},
			{Name: "unknown key, strict", Conf: conf("1.0.0", two+`,"adresses":[]`, `,"strict":true`), Code: 2, Words: "did you mean addresses"},
			{Name: "no room in an old result", Conf: conf("0.2.0", two, ""), Args: "IP=10.9.0.5/16", Code: 7, Words: "0.2.0|raise cniVersion"},
		},
	}.Run(t)
}

// TestCheck: the result must have what the configuration says.
func TestCheck(t *testing.T) {
	for _, row := range []struct {
		name, ips string
		words     string // separated by bars; none where it holds
	}{
		{"as it was given", `{"address":"10.1.2.3/24","gateway":"10.1.2.1"},{"address":"fd00::3/64","gateway":"fd00::1"}`, ""},
		{"and others", `{"address":"10.7.7.7/24"},{"address":"10.1.2.3/24","gateway":"10.1.2.1"},{"address":"fd00::3/64","gateway":"fd00::1"}`, ""},
		{"one is missing", `{"address":"10.1.2.3/24","gateway":"10.1.2.1"}`, "fd00::3/64 is not in prevResult"},
		{"both are missing", ``, "10.1.2.3/24|fd00::3/64"},
		{"another length", `{"address":"10.1.2.3/16","gateway":"10.1.2.1"},{"address":"fd00::3/64","gateway":"fd00::1"}`, "10.1.2.3/24|10.1.2.3/16"},
		{"another gateway", `{"address":"10.1.2.3/24","gateway":"10.1.2.254"},{"address":"fd00::3/64","gateway":"fd00::1"}`, "gateway|10.1.2.254"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			bin := kerneltest.Build(t, "plugins/ipam/static")
			s := kerneltest.New(t)
			c := kerneltest.Call{Bin: bin, Plugin: "static", Verb: "CHECK", Conf: conf("1.0.0", two, `,"prevResult":{"cniVersion":"1.0.0","ips":[`+row.ips+`]}`)}
			if row.words == "" {
				s.Must(c)
				return
			}
			s.Refuses(c, 104, strings.Split(row.words, "|")...)
		})
	}
}

// TestVerbs runs an attachment's life in every version, and DEL, GC and STATUS
// with what they must not stumble over.
func TestVerbs(t *testing.T) {
	t.Parallel()
	bin := kerneltest.Build(t, "plugins/ipam/static")
	s := kerneltest.New(t)
	before := s.Text()
	for _, version := range []string{"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		a := s.Must(kerneltest.Call{Bin: bin, Plugin: "static", Conf: conf(version, two, "")})
		if !strings.Contains(a.Stdout, `"10.1.2.3/24"`) || !strings.Contains(a.Stdout, `"fd00::3/64"`) || !strings.Contains(a.Stdout, `"`+version+`"`) {
			t.Errorf("version %s: %s", version, a.Stdout)
		}
		for range 2 {
			s.Must(kerneltest.Call{Bin: bin, Plugin: "static", Verb: "DEL", Conf: conf(version, two, "")})
		}
	}
	s.Must(kerneltest.Call{Bin: bin, Plugin: "static", Verb: "DEL", Args: "junk", Conf: conf("1.0.0", `"addresses":[{"address":"junk"}]`, "")})
	s.Must(kerneltest.Call{Bin: bin, Plugin: "static", Verb: "STATUS", Conf: conf("1.1.0", "", "")})
	s.Must(kerneltest.Call{Bin: bin, Plugin: "static", Verb: "GC", Conf: conf("1.1.0", two, `,"cni.dev/valid-attachments":[]`)})
	s.Refuses(kerneltest.Call{Bin: bin, Plugin: "static", Verb: "STATUS", Conf: conf("1.1.0", `"addresses":[{"address":"junk"}]`, "")}, 7, "junk")
	s.Same("an attachment's life", before, s.Text())
}

// FuzzConf: any configuration is read well, or refused well.
func FuzzConf(f *testing.F) { plugintest.FuzzIPAM(f, static.Plugin) }
