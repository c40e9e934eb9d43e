package hostlocal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

func sorted(all []string) string {
	slices.Sort(all)
	return strings.Join(all, " ")
}

const fullIPAM = `"subnet":"10.1.2.0/24","rangeStart":"10.1.2.9","ranges":[[{"subnet":"fd00::/64","gateway":"fd00::fe"}]],
	"routes":[{"dst":"0.0.0.0/0"},{"dst":"10.0.0.0/8","gw":"10.1.2.3"},{"dst":"::ffff:10.0.0.0/104","mtu":1400,"advmss":1300,"priority":7,"table":0,"scope":253},{"dst":"::/0","gw":"fd00::1","table":100}],
	"resolvConf":%q`

const resolvConf = "# of nobody\n; nor this\nnameserver 10.0.0.53\n\tnameserver  fd00::53 \ndomain a.example\ndomain b.example\nsearch x y\nsearch z\noptions ndots:5 rotate\nnameserver\nsortlist 10.0.0.0\n"

// full is a configuration with everything in it.
func (w world) full(t testing.TB, version string) string {
	t.Helper()
	file := filepath.Join(filepath.Dir(w.netns), "resolv.conf")
	must(t, os.WriteFile(file, []byte(resolvConf), 0o600))
	return w.conf(version, fmt.Sprintf(fullIPAM, file))
}

var versions = []string{"", "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}

// TestResults holds the result in every version, and that a foretold one is
// the same and takes nothing.
func TestResults(t *testing.T) {
	t.Parallel()
	var golden strings.Builder
	for _, version := range versions {
		w := aWorld(t)
		conf := w.full(t, version)
		cmd := w.command(binary, "ADD", "c", conf)
		cmd.Args = append(cmd.Args, "result")
		foretold, err := cmd.Output()
		must(t, err)
		if _, err := os.Stat(w.dir); err == nil {
			t.Error("foretelling has made the folder")
		}
		out, warnings, err := w.run(binary, "ADD", "c", conf)
		must(t, err)
		if strings.TrimSpace(string(foretold)) != out || warnings != "" {
			t.Errorf("version %q: foretold %s, got %s, warnings %s", version, foretold, out, warnings)
		}
		fmt.Fprintf(&golden, "# cniVersion %q\n%s\n", version, out)
	}
	kerneltest.Golden(t, "testdata/results.txt", golden.String())
}

func TestPlanAndSchema(t *testing.T) {
	t.Parallel()
	w := aWorld(t)
	conf := w.full(t, "1.0.0")
	w.add(t, "a", conf)
	for word, want := range map[string]string{
		"plan":   "lease 10.1.2.10/24 to n/c/eth0\nlease fd00::2/64 to n/c/eth0\n",
		"schema": `"rangeStart": {`,
	} {
		cmd := w.command(binary, "ADD", "c", conf)
		cmd.Args = append(cmd.Args, word)
		if out, err := cmd.Output(); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s", word, err, out)
		}
	}
	if got := w.leases(t); strings.Contains(got, "=c") {
		t.Errorf("leases %s", got)
	}
}

// TestBadInput holds the error of each, that it changes nothing, and that an
// address is given back all the same where DEL can know whose it is.
func TestBadInput(t *testing.T) {
	t.Parallel()
	const good = `"subnet":"10.1.2.0/24"`
	for name, c := range map[string]struct {
		ipam  string // members of ipam
		rest  string // members beside it
		whole string // or the whole text
		args  string
		code  int
		says  string
		lost  bool // a DEL cannot know what to do
	}{
		"no JSON":                {whole: `{"cniVersion":"1.0.0",`, code: 6, says: "line 1", lost: true},
		"nothing":                {whole: ``, code: 6, says: "JSON", lost: true},
		"a list":                 {whole: `[]`, code: 6, says: "object", lost: true},
		"null":                   {whole: `null`, code: 7, says: "name", lost: true},
		"no name":                {whole: `{"cniVersion":"1.0.0","ipam":{"dataDir":"DIR","subnet":"10.1.2.0/24"}}`, code: 7, says: "no name", lost: true},
		"name with a path":       {whole: `{"cniVersion":"1.0.0","name":"../n","ipam":{"dataDir":"DIR/x","subnet":"10.1.2.0/24"}}`, code: 7, says: `"../n"`, lost: true},
		"name of dots":           {whole: `{"cniVersion":"1.0.0","name":"..","ipam":{"dataDir":"DIR/n","subnet":"10.1.2.0/24"}}`, code: 7, says: `".."`, lost: true},
		"name with NUL":          {whole: `{"cniVersion":"1.0.0","name":"n\u0000","ipam":{"dataDir":"DIR","subnet":"10.1.2.0/24"}}`, code: 7, says: `n\x00`, lost: true},
		"long name":              {whole: `{"cniVersion":"1.0.0","name":"` + strings.Repeat("n", 300) + `","ipam":{"dataDir":"DIR","subnet":"10.1.2.0/24"}}`, code: 7, says: "characters together", lost: true},
		"version":                {whole: `{"cniVersion":"9.9.9","name":"n","ipam":{"dataDir":"DIR","subnet":"10.1.2.0/24"}}`, code: 1, says: "9.9.9"},
		"no ipam":                {whole: `{"cniVersion":"1.0.0","name":"n"}`, code: 7, says: "neither ranges nor a subnet", lost: true},
		"ipam null":              {whole: `{"cniVersion":"1.0.0","name":"n","ipam":null}`, code: 7, says: "neither ranges nor a subnet", lost: true},
		"ipam text":              {whole: `{"cniVersion":"1.0.0","name":"n","ipam":"host-local"}`, code: 6, says: "ipam is to be an object", lost: true},
		"dataDir number":         {whole: `{"cniVersion":"1.0.0","name":"n","ipam":{"dataDir":5,"subnet":"10.1.2.0/24"}}`, code: 6, says: "ipam.dataDir is to be a string", lost: true},
		"dataDir relative":       {whole: `{"cniVersion":"1.0.0","name":"n","ipam":{"dataDir":"data","subnet":"10.1.2.0/24"}}`, code: 7, says: `ipam.dataDir is "data", and must begin with a slash`, lost: true},
		"no ranges":              {ipam: `"ranges":[]`, code: 7, says: "neither ranges nor a subnet"},
		"empty set":              {ipam: `"ranges":[[{"subnet":"10.1.2.0/24"}],[]]`, code: 7, says: "ipam.ranges[1] is empty"},
		"set null":               {ipam: `"ranges":[null]`, code: 7, says: "ipam.ranges[0] is empty"},
		"range null":             {ipam: `"ranges":[[null]]`, code: 7, says: "ipam.ranges[0][0] has no subnet"},
		"ranges flat":            {ipam: `"ranges":[{"subnet":"10.1.2.0/24"}]`, code: 6, says: "ipam.ranges[0] is to be a list, not object"},
		"subnet number":          {ipam: `"subnet":5`, code: 6, says: "ipam.subnet is to be a string"},
		"subnet junk":            {ipam: `"subnet":"junk"`, code: 7, says: `ipam.subnet is "junk"`},
		"subnet address":         {ipam: `"ranges":[[{"subnet":"10.1.2.0"}]]`, code: 7, says: `ipam.ranges[0][0].subnet is "10.1.2.0"`},
		"subnet mapped and wide": {ipam: `"subnet":"::ffff:0.0.0.0/90"`, code: 7, says: `ipam.subnet is "::ffff:0.0.0.0/90"`},
		"host bits":              {ipam: `"ranges":[[{"subnet":"10.1.2.3/24"}]]`, code: 7, says: "host bits set; the network is 10.1.2.0/24"},
		"start after end":        {ipam: `"subnet":"10.1.2.0/24","rangeStart":"10.1.2.9","rangeEnd":"10.1.2.8"`, code: 7, says: "ipam: rangeStart 10.1.2.9 is after rangeEnd 10.1.2.8"},
		"start elsewhere":        {ipam: `"ranges":[[{"subnet":"10.1.2.0/24","rangeStart":"10.1.3.9"}]]`, code: 7, says: "rangeStart 10.1.3.9 is not in subnet 10.1.2.0/24"},
		"end of another family":  {ipam: `"ranges":[[{"subnet":"10.1.2.0/24","rangeEnd":"fd00::1"}]]`, code: 7, says: "rangeEnd fd00::1 is not in subnet"},
		"start junk":             {ipam: `"ranges":[[{"subnet":"10.1.2.0/24","rangeStart":"10.1.2.300"}]]`, code: 7, says: `ipam.ranges[0][0].rangeStart is "10.1.2.300"`},
		"gateway with zone":      {ipam: `"ranges":[[{"subnet":"fd00::/64","gateway":"fe80::1%eth0"}]]`, code: 7, says: `gateway is "fe80::1%eth0"`},
		"overlap in a set":       {ipam: `"ranges":[[{"subnet":"10.1.2.0/24"},{"subnet":"10.1.0.0/16"}]]`, code: 7, says: "overlaps range 10.1.2.1-10.1.2.254"},
		"overlap of sets":        {ipam: good + `,"ranges":[[{"subnet":"10.1.2.0/25"}]]`, code: 7, says: "ipam.ranges[0]: range 10.1.2.1-10.1.2.126 overlaps range 10.1.2.1-10.1.2.254"},
		"mixed families":         {ipam: `"ranges":[[{"subnet":"10.1.2.0/24"},{"subnet":"fd00::/64"}]]`, code: 7, says: "mixes families"},
		"two sets of 0.2":        {whole: `{"cniVersion":"0.2.0","name":"n","ipam":{"dataDir":"DIR","ranges":[[{"subnet":"10.1.2.0/24"}],[{"subnet":"10.1.3.0/24"}]]}}`, code: 7, says: "raise cniVersion to 0.3.0"},
		"route without dst":      {ipam: good + `,"routes":[{"gw":"10.1.2.1"}]`, code: 7, says: "ipam.routes[0].dst"},
		"route null":             {ipam: good + `,"routes":[null]`, code: 7, says: "ipam.routes[0].dst"},
		"route via junk":         {ipam: good + `,"routes":[{"dst":"0.0.0.0/0","gw":"junk"}]`, code: 7, says: `ipam.routes[0].gw is "junk"`},
		"route scope":            {ipam: good + `,"routes":[{"dst":"0.0.0.0/0","scope":256}]`, code: 7, says: "ipam.routes[0].scope is 256, and can be 0 to 255"},
		"route mtu":              {ipam: good + `,"routes":[{"dst":"0.0.0.0/0","mtu":"big"}]`, code: 6, says: "mtu is to be a whole number"},
		"resolvConf missing":     {ipam: good + `,"resolvConf":"/nowhere/resolv.conf"`, code: 102, says: "ipam.resolvConf: open /nowhere/resolv.conf: no such file"},
		"resolvConf a folder":    {ipam: good + `,"resolvConf":"/"`, code: 100, says: "ipam.resolvConf: / is no plain file"},
		"resolvConf endless":     {ipam: good + `,"resolvConf":"/dev/zero"`, code: 100, says: "ipam.resolvConf: /dev/zero is no plain file"},
		"excluded junk":          {ipam: good + `,"exclude":["10.1.2.9","10.1.2.x"]`, code: 7, says: `ipam.exclude[1] is "10.1.2.x", which is no IP address, with or without a prefix length`},
		"excluded null":          {ipam: good + `,"exclude":[null]`, code: 7, says: `ipam.exclude[0] is ""`},
		"excluded range":         {ipam: good + `,"exclude":["10.1.2.1-10.1.2.9"]`, code: 7, says: `ipam.exclude[0] is "10.1.2.1-10.1.2.9"`},
		"excluded no list":       {ipam: good + `,"exclude":"10.1.2.9"`, code: 6, says: "ipam.exclude is to be a list"},
		"excluded host bits":     {ipam: good + `,"exclude":["10.1.2.9/24"]`, code: 7, says: "ipam.exclude[0] is 10.1.2.9/24: write 10.1.2.9 for the one address, or 10.1.2.0/24 for all of them"},
		"excluded zone":          {ipam: good + `,"exclude":["fe80::1%eth0"]`, code: 7, says: `ipam.exclude[0] is "fe80::1%eth0"`},
		"all excluded":           {ipam: good + `,"exclude":["10.1.0.0/16"]`, code: 7, says: "ipam: all of range 10.1.2.1-10.1.2.254 is excluded"},
		"request of an excluded": {ipam: good + `,"exclude":["10.1.2.8/29"]`, args: "IP=10.1.2.9", code: 7, says: "requested address 10.1.2.9 is invalid: it is excluded"},
		"stickyKey junk":         {ipam: good + `,"stickyKey":"K8S_POD_NAME="`, code: 7, says: `ipam.stickyKey is "K8S_POD_NAME=": it names keys of CNI_ARGS`},
		"stickyKey of nothing":   {ipam: good + `,"stickyKey":"/"`, code: 7, says: `ipam.stickyKey is "/"`},
		"stickyKey number":       {ipam: good + `,"stickyKey":1`, code: 6, says: "ipam.stickyKey is to be a string"},
		"request null":           {ipam: good, rest: `"runtimeConfig":{"ips":[null]}`, code: 7, says: `runtimeConfig.ips[0] is ""`},
		"request empty":          {ipam: good, rest: `"args":{"cni":{"ips":[""]}}`, code: 7, says: `args.cni.ips[0] is ""`},
		"request no list":        {ipam: good, rest: `"args":{"cni":{"ips":"10.1.2.3"}}`, code: 6, says: "args.cni.ips is to be a list"},
		"request elsewhere":      {ipam: good, rest: `"runtimeConfig":{"ips":["10.1.3.3"]}`, code: 7, says: "requested address 10.1.3.3 is invalid: each range set gives one address, and these are the sets: 10.1.2.1-10.1.2.254"},
		"two requests":           {ipam: good, rest: `"runtimeConfig":{"ips":["10.1.2.3","10.1.2.4"]}`, code: 7, says: "requested address 10.1.2.4"},
		"request of the gateway": {ipam: good, rest: `"runtimeConfig":{"ips":["10.1.2.1"]}`, code: 7, says: "it is the gateway"},
		"request in use":         {ipam: good, rest: `"runtimeConfig":{"ips":["10.1.2.200"]}`, code: 101, says: "in use by container other interface eth0 in network namespace"},
		"ipRanges empty":         {ipam: good, rest: `"runtimeConfig":{"ipRanges":[[]]}`, code: 7, says: "runtimeConfig.ipRanges[0] is empty"},
		"args of junk":           {ipam: good, args: "IP", code: 4, says: `CNI_ARGS has "IP"`},
		"args IP junk":           {ipam: good, args: "IP=10.1.2.x", code: 4, says: `IP in CNI_ARGS is "10.1.2.x"`},
		"args unknown":           {ipam: good, args: "K8S_POD_NAME=web", code: 4, says: "IgnoreUnknown=1"},
		"strict":                 {ipam: good + `,"rangeStrat":"10.1.2.9"`, rest: `"strict":true`, code: 2, says: "unknown key ipam.rangeStrat: did you mean rangeStart?"},
		"strict in a range":      {ipam: `"ranges":[[{"subnet":"10.1.2.0/24","gatway":"10.1.2.1"}]]`, rest: `"strict":true`, code: 2, says: "did you mean gateway?"},
		"twice":                  {ipam: good + `,"subnet":"10.9.9.0/24"`, code: 7, says: "ipam.subnet stands twice"},
		"full":                   {ipam: `"subnet":"10.1.2.0/24","rangeStart":"10.1.2.200","rangeEnd":"10.1.2.200"`, code: 100, says: "no address is free in 10.1.2.200-10.1.2.200: 1 held by 1 containers"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := aWorld(t)
			w.add(t, "other", w.conf("1.0.0", good), "CNI_ARGS=IP=10.1.2.200")
			before := w.text(t)
			text := strings.ReplaceAll(c.whole, "DIR", w.dir)
			if c.ipam != "" {
				text = w.conf("1.0.0", c.ipam)
			}
			if c.rest != "" {
				text = with(text, c.rest)
			}
			_, _, err := w.run(binary, "ADD", "c", text, "CNI_ARGS="+c.args)
			wants(t, err, c.code, c.says)
			if got := w.text(t); got != before {
				t.Errorf("the folder became %s, and was %s", got, before)
			}
			if p, _ := err.(printed); c.code >= 100 && p.Details == "" {
				t.Errorf("%v says nothing of what to do", err)
			}
			if c.lost {
				return
			}
			w.add(t, "c", w.conf("1.0.0", good))
			w.del(t, "c", text, "CNI_ARGS="+c.args)
			if got := w.leases(t); got != "10.1.2.200=other|eth0" {
				t.Errorf("DEL left %s", got)
			}
		})
	}
}

// text is everything in the folder of leases, of any network.
func (w world) text(t testing.TB) string {
	t.Helper()
	var all []string
	must(t, filepath.WalkDir(filepath.Dir(w.dir), func(path string, d os.DirEntry, err error) error {
		if err == nil {
			text, _ := os.ReadFile(path)
			link, _ := os.Readlink(path)
			all = append(all, path+"="+string(text)+link)
		}
		return err
	}))
	return sorted(all)
}

func TestUnknownKeysWarn(t *testing.T) {
	t.Parallel()
	w := aWorld(t)
	conf := w.conf("1.0.0", `"subnet":"10.1.2.0/24","rangeStrat":"10.1.2.9","zzz":{"a":1}`)
	_, warnings, err := w.run(binary, "ADD", "c", conf)
	must(t, err)
	for _, word := range []string{"network n: unknown key ipam.rangeStrat: did you mean rangeStart?", "unknown key ipam.zzz"} {
		if !strings.Contains(warnings, word) {
			t.Errorf("warnings %q do not say %q", warnings, word)
		}
	}
	if strings.Count(warnings, "\n") != 2 {
		t.Errorf("warnings %q: the keys beside ipam are not host-local's to judge", warnings)
	}
}
