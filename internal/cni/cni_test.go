package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni/conf"
)

func read(env map[string]string, stdin string) (*Request, error) {
	return Read(func(k string) string { return env[k] }, strings.NewReader(stdin))
}

func TestRead(t *testing.T) {
	full := func(change ...string) map[string]string {
		env := map[string]string{"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": "/n", "CNI_IFNAME": "eth0"}
		for i := 0; i < len(change); i += 2 {
			env[change[i]] = change[i+1]
		}
		return env
	}
	const ok = `{"cniVersion":"1.1.0","name":"n","type":"t"}`
	for _, row := range []struct {
		name  string
		env   map[string]string
		stdin string
		code  uint
		words []string
	}{
		{"all is well", full(), ok, 0, nil},
		{"the oldest version", full(), `{"name":"n"}`, 0, nil},
		{"every missing variable is named", map[string]string{"CNI_COMMAND": "ADD"}, ok, 4, []string{"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"}},
		{"DEL needs no namespace", full("CNI_COMMAND", "DEL", "CNI_NETNS", ""), ok, 0, nil},
		{"GC needs no attachment", map[string]string{"CNI_COMMAND": "GC"}, ok, 0, nil},
		{"verbs are in capitals", full("CNI_COMMAND", "add"), ok, 4, []string{"add"}},
		{"a container id is no path", full("CNI_CONTAINERID", "../x"), ok, 4, []string{"CNI_CONTAINERID"}},
		{"a container id has an end", full("CNI_CONTAINERID", strings.Repeat("a", 300)), ok, 4, []string{"300"}},
		{"an interface name of 16 bytes", full("CNI_IFNAME", "abcdefghijklmnop"), ok, 4, []string{"CNI_IFNAME"}},
		{"an interface name with a blank", full("CNI_IFNAME", "eth 0"), ok, 4, []string{"CNI_IFNAME"}},
		{"an unknown version", full(), `{"cniVersion":"2.0.0","name":"n"}`, 1, []string{"2.0.0"}},
		{"CHECK of 0.3.1", full("CNI_COMMAND", "CHECK"), `{"cniVersion":"0.3.1","name":"n"}`, 1, []string{"CHECK", "0.4.0"}},
		{"GC of 1.0.0", full("CNI_COMMAND", "GC"), `{"cniVersion":"1.0.0","name":"n"}`, 1, []string{"GC", "1.1.0"}},
		{"no JSON", full(), `hello`, 6, []string{"line 1"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := read(row.env, row.stdin)
			if row.code == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if e := AsError(err); e.Code != row.code {
				t.Errorf("code %d: %v", e.Code, err)
			}
			for _, w := range row.words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("it does not say %q: %v", w, err)
				}
			}
		})
	}
}

// TestValidAttachments tells a missing list from an empty one.
func TestValidAttachments(t *testing.T) {
	for in, want := range map[string]string{
		`{"cniVersion":"1.1.0","name":"n"}`:                                                                               "false []",
		`{"cniVersion":"1.1.0","name":"n","cni.dev/valid-attachments":null}`:                                              "true []",
		`{"cniVersion":"1.1.0","name":"n","cni.dev/attachments":null}`:                                                    "true []",
		`{"cniVersion":"1.1.0","name":"n","cni.dev/valid-attachments":null,"cni.dev/attachments":[{"containerID":"c"}]}`:  "true []",
		`{"cniVersion":"1.1.0","name":"n","cni.dev/valid-attachments":[]}`:                                                "true []",
		`{"cniVersion":"1.1.0","name":"n","cni.dev/valid-attachments":[{"containerID":"c","ifname":"i"}]}`:                "true [n/c/i]",
		`{"cniVersion":"1.1.0","name":"n","cni.dev/attachments":[{"containerID":"c","ifname":"i"}]}`:                      "true [n/c/i]",
		`{"cniVersion":"1.1.0","name":"n","cni.dev/attachments":[{"containerID":"c","ifname":"i"}],"CNIVERSION":"1.1.0"}`: "true [n/c/i]",
	} {
		r, err := read(map[string]string{"CNI_COMMAND": "GC"}, in)
		if err != nil {
			t.Fatal(err)
		}
		valid, ok := r.ValidAttachments()
		if got := fmt.Sprint(ok, " ", valid); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

func TestParseArgs(t *testing.T) {
	for _, row := range []struct {
		in    string
		known string
		want  string
		fails bool
	}{
		{"", "IP", "map[]", false},
		{"IP=1.2.3.4", "IP", "map[IP:1.2.3.4]", false},
		{"IgnoreUnknown=1;K8S_POD_NAME=p;IP=a=b;", "IP", "map[IP:a=b IgnoreUnknown:1 K8S_POD_NAME:p]", false},
		{"K8S_POD_NAME=p;IgnoreUnknown=TRUE", "IP", "map[IgnoreUnknown:TRUE K8S_POD_NAME:p]", false},
		{"FOO=1", "IP", "", true},
		{"IgnoreUnknown=0;FOO=1", "IP", "", true},
		{"FOO", "IP", "", true},
	} {
		got, err := ParseArgs(row.in, row.known)
		if (err != nil) != row.fails || !row.fails && fmt.Sprint(got) != row.want {
			t.Errorf("%q: %v, %v", row.in, got, err)
		}
	}
}

// TestCodes: one place turns causes into the specification's codes.
func TestCodes(t *testing.T) {
	for want, err := range map[uint]error{
		CodeExists:      fmt.Errorf("a: %w", fs.ErrExist),
		CodeMissing:     fmt.Errorf("a: %w", unix.ENOENT),
		CodePermission:  fmt.Errorf("a: %w", unix.EPERM),
		CodeFailed:      errors.New("a"),
		CodeDecode:      fmt.Errorf("%w: x", conf.ErrSyntax),
		CodeConfig:      fmt.Errorf("%w: x", conf.ErrValue),
		CodeUnsupported: fmt.Errorf("%w x", conf.ErrKey),
		CodeNotReady:    WithCode(CodeNotReady, fs.ErrExist),
		CodeTryAgain:    fmt.Errorf("a: %w", &Error{Code: CodeTryAgain, Msg: "m"}),
	} {
		if got := AsError(err); got.Code != want {
			t.Errorf("%v: %d, not %d", err, got.Code, want)
		}
	}
	if err := WithCode(CodeDrift, Errorf(CodeConfig, "x")); AsError(err).Code != CodeConfig {
		t.Error("a code was overwritten")
	}
	if WithCode(1, nil) != nil || Hint(nil, "x") != nil {
		t.Error("nil did not stay nil")
	}
}

func TestPrintError(t *testing.T) {
	text := PrintError("1.0.0", Hint(Errorf(CodeConfig, "the fact"), "look there"))
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != "map[cniVersion:1.0.0 code:7 details:look there msg:the fact]" {
		t.Errorf("%v", got)
	}
}

// TestDetailsOnce: what an IPAM plugin says to look at next is in the details, and
// not in the message too, however its error came here and was wrapped.
func TestDetailsOnce(t *testing.T) {
	ours := Hint(Errorf(CodeExists, "the fact"), "look there")
	printed := &Error{Code: CodeExists, Msg: "the fact", Details: "look there"}
	for what, err := range map[string]error{
		"inside": SaidBy("host-local", ours), "executed": SaidBy("host-local", printed),
		"joined": errors.Join(SaidBy("host-local", printed), nil), "wrapped": fmt.Errorf("x: %w", SaidBy("host-local", ours)),
	} {
		e := AsError(err)
		if e.Code != CodeExists || e.Details != "look there" || strings.Contains(e.Msg, "look there") || !strings.Contains(e.Msg, "host-local: the fact") {
			t.Errorf("%s: %d %q %q", what, e.Code, e.Msg, e.Details)
		}
	}
}

// TestLinkNames holds names against what the kernel takes, and against what it
// would fill in.
func TestLinkNames(t *testing.T) {
	for _, good := range []string{"eth0", "a-name_of.15-by", "eth0@x", "ä"} {
		if err := CheckIfName(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"eth%d", "%d", "50%", "a/b", "a:b", "a b", "..", "a-name-of-16-byte"} {
		if err := CheckIfName(bad); err == nil || !strings.Contains(err.Error(), "CNI_IFNAME is") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestResults reads a result of each version and prints it in each.
func TestResults(t *testing.T) {
	for version, text := range map[string]string{
		"0.2.0": `{"ip4":{"ip":"10.1.2.3/24","gateway":"10.1.2.1","routes":[{"dst":"0.0.0.0/0"}]}}`,
		"0.4.0": `{"cniVersion":"0.4.0","interfaces":[{"name":"eth0","sandbox":"/n"}],"ips":[{"version":"4","address":"10.1.2.3/24","interface":0}]}`,
		"1.0.0": `{"ips":[{"address":"10.1.2.3/24"}]}`,
		"1.1.0": `{"cniVersion":"1.0.0","ips":[{"address":"10.1.2.3/24"}]}`, // its own version counts
	} {
		r, err := ParseResult("x", []byte(text), version)
		if err != nil {
			t.Fatal(err)
		}
		if got := Prefix(r.IPs[0].Address).String(); got != "10.1.2.3/24" {
			t.Errorf("%s: %s", version, got)
		}
		for _, as := range supported.SupportedVersions() {
			out, err := Print(r, as)
			if err != nil || !strings.Contains(string(out), `"cniVersion": "`+as+`"`) || !strings.Contains(string(out), "10.1.2.3/24") {
				t.Errorf("%s as %s: %v %s", version, as, err, out)
			}
			// A route without a gateway goes by the address's; the library adds none.
			if strings.Contains(string(out), `"gw"`) {
				t.Errorf("%s as %s: a gateway that was not there: %s", version, as, out)
			}
		}
	}
	for _, bad := range []string{"{", "null", "[]", `"x"`, `{"cniVersion":"9.9.9"}`, `{"ips":3}`, `{"ips":[{}]}`, `{"routes":[{"gw":"10.1.2.1"}]}`} {
		if _, err := ParseResult("x", []byte(bad), "1.0.0"); err == nil || AsError(err).Code != CodeDecode {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "here"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := Find("here", "/nowhere:"+dir); err != nil || got != dir+"/here" {
		t.Errorf("%s %v", got, err)
	}
	for plugin, code := range map[string]uint{"../here": CodeConfig, "": CodeConfig, ".": CodeConfig, "absent": CodeMissing} {
		if _, err := Find(plugin, dir); AsError(err).Code != code {
			t.Errorf("%q: %v", plugin, err)
		}
	}
}

// TestWith: the other plugin's configuration, and what the runtime has added.
func TestWith(t *testing.T) {
	const prev = `{"cniVersion":"1.0.0","ips":[{"address":"10.1.2.3/24"}]}`
	in := `{"cniVersion":"1.1.0","name":"n","own":1,"prevResult":` + prev + `,"cni.dev/valid-attachments":[{"containerID":"c","ifname":"i"}]}`
	r, err := read(map[string]string{"CNI_COMMAND": "GC"}, in)
	if err != nil {
		t.Fatal(err)
	}
	conf := map[string]json.RawMessage{"cniVersion": json.RawMessage(`"0.4.0"`), "their": json.RawMessage("9007199254740993")}
	for verb, want := range map[string]string{
		Add:    `{"cniVersion":"1.1.0","prevResult":` + prev + `,"their":9007199254740993}`,
		Del:    `{"cniVersion":"1.1.0","prevResult":` + prev + `,"their":9007199254740993}`,
		Status: `{"cniVersion":"0.4.0","their":9007199254740993}`,
		GC:     `{"cni.dev/attachments":[{"containerID":"c","ifname":"i"}],"cni.dev/valid-attachments":[{"containerID":"c","ifname":"i"}],"cniVersion":"0.4.0","their":9007199254740993}`,
	} {
		with, err := r.With(verb, conf)
		if err != nil || with.Verb != verb || string(with.Stdin) != want || string(r.Stdin) != in || len(conf) != 2 {
			t.Errorf("%s: %v %s %s", verb, err, with.Verb, with.Stdin)
		}
	}
	r.Conf.PrevResult = json.RawMessage(`{"cniVersion":"7"}`)
	if with, err := r.With(Del, conf); err != nil || strings.Contains(string(with.Stdin), "prevResult") {
		t.Errorf("what nobody can read is handed on: %v %s", err, with.Stdin)
	}
}

// TestEnvironment: the request's attachment, which GC exchanges, and the rest as
// it is.
func TestEnvironment(t *testing.T) {
	for key, value := range map[string]string{"CNI_COMMAND": "GC", "CNI_CONTAINERID": "old", "CNI_NETNS": "", "CNI_ARGS": "A=1", "CNI_COMMANDER": "x"} {
		t.Setenv(key, value)
	}
	r := &Request{}
	r.ContainerID, r.IfName = "c1", "eth0"
	for verb, want := range map[string]string{
		Del: "CNI_ARGS=A=1 CNI_COMMAND=DEL CNI_COMMANDER=x CNI_CONTAINERID=c1 CNI_IFNAME=eth0 CNI_NETNS=",
		"":  "CNI_ARGS=A=1 CNI_COMMANDER=x CNI_CONTAINERID=c1 CNI_IFNAME=eth0 CNI_NETNS=",
	} {
		env := slices.DeleteFunc(r.environment(verb), func(v string) bool { return !strings.HasPrefix(v, "CNI_") })
		slices.Sort(env)
		if got := strings.Join(env, " "); got != want {
			t.Errorf("%q: %s", verb, got)
		}
	}
}

// TestExecutedPlugin: what a plugin prints is read to a bound, and one that goes on is ended.
func TestExecutedPlugin(t *testing.T) {
	dir := t.TempDir()
	for name, script := range map[string]string{
		"prints": `echo '{"x":1}'`, "fails": `echo '{"code":11,"msg":"later"}'; exit 1`, "dies": `exit 3`, "floods": `exec cat /dev/zero`,
		"ignores": `trap '' PIPE; while true; do head -c 1000000 /dev/zero; done 2>/dev/null`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r := &Request{Path: dir}
	if printed, err := r.Delegate("prints", Add); err != nil || string(printed) != "{\"x\":1}\n" {
		t.Errorf("%q, %v", printed, err)
	}
	for plugin, want := range map[string]struct {
		code uint
		says string
	}{
		"fails": {CodeTryAgain, "fails: later"}, "dies": {CodeFailed, "dies printed no error that can be read: exit status 3"},
		"floods": {CodeIO, "floods printed more than 67108864 bytes"}, "ignores": {CodeIO, "ignores printed more than 67108864 bytes"},
	} {
		if printed, err := r.Delegate(plugin, Add); printed != nil || AsError(err).Code != want.code || !strings.Contains(err.Error(), want.says) {
			t.Errorf("%s: %d bytes, %v", plugin, len(printed), err)
		}
	}
}

// TestNamesTogether: what a link's alias has no room for is refused by ADD. DEL, to which nothing can be left of it, goes on.
func TestNamesTogether(t *testing.T) {
	for verb, longest := range map[string]int{Add: 188, Del: 200} {
		for _, length := range []int{longest, longest + 1} {
			env := map[string]string{"CNI_COMMAND": verb, "CNI_CONTAINERID": strings.Repeat("c", 61), "CNI_NETNS": "/n", "CNI_IFNAME": "eth0"}
			r, err := read(env, `{"cniVersion":"1.1.0","name":"`+strings.Repeat("n", length)+`"}`)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.CheckName(); (err != nil) != (length > longest) || err != nil && AsError(err).Code != CodeConfig {
				t.Errorf("%s of a network of %d characters: %v", verb, length, err)
			}
			if cut := r.Alias() != r.Attachment.String(); verb == Add && cut != (length > longest) {
				t.Errorf("the alias of %d characters is cut: %v", length, cut)
			}
		}
	}
}
