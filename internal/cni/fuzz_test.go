package cni_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/state/name"
)

// results are of every version that writes them differently.
var results = map[string]string{
	"0.1.0": `{"cniVersion":"0.1.0","ip4":{"ip":"10.1.2.3/24","gateway":"10.1.2.1","routes":[{"dst":"0.0.0.0/0","gw":"10.1.2.1"},{"dst":"10.7.0.0/16"}]},"dns":{"nameservers":["10.1.2.53"]}}`,
	"0.2.0": `{"ip4":{"ip":"10.1.2.3/24"},"ip6":{"ip":"fd00:1:2::3/64","gateway":"fd00:1:2::1","routes":[{"dst":"::/0"}]},"dns":{}}`,
	"0.3.0": `{"interfaces":[{"name":"cni0"},{"name":"eth0","sandbox":"/n"}],"ips":[{"version":"4","address":"10.1.2.3/24","interface":1}],"routes":[{"dst":"0.0.0.0/0"}]}`,
	"0.3.1": `{"interfaces":[],"ips":[{"version":"6","address":"fd00:1:2::3/64"},{"version":"4","address":"10.1.2.3/24","gateway":"10.1.2.1"}],"dns":{"domain":"d","search":["s"],"options":["o"]}}`,
	"0.4.0": `{"cniVersion":"0.4.0","interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01","sandbox":"/n"}],"ips":[{"version":"4","address":"10.1.2.3/24","interface":0}]}`,
	"1.0.0": `{"ips":[{"address":"10.1.2.3/24"},{"address":"10.1.3.3/24"},{"address":"fd00::3/64","gateway":"fd00::1"}],"routes":[{"dst":"10.0.0.0/8","gw":"10.1.2.1"}]}`,
	"1.1.0": `{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01","mtu":1400,"sandbox":"/n","socketPath":"/s","pciID":"0000:00:1f.6"}],` +
		`"ips":[{"address":"10.1.2.3/24","gateway":"10.1.2.1","interface":0}],"routes":[{"dst":"0.0.0.0/0","mtu":1400,"advmss":1360,"priority":5,"table":7,"scope":253}],"dns":{"search":["a","b"]}}`,
}

var versions = []string{"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}

// FuzzRead reads environments and configurations of any content: what is wrong has a
// code of the specification, an attachment that is taken can be read back from its
// name, and what another plugin is handed is what the runtime has said.
func FuzzRead(f *testing.F) {
	const conf = `{"cniVersion":"1.1.0","name":"n","type":"t"}`
	for _, verb := range []string{"ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", "add", ""} {
		f.Add(verb, "c1", "/n", "eth0", "IP=1.2.3.4", []byte(conf))
	}
	f.Add("ADD", "", "", "", "", []byte(conf))
	f.Add("ADD", "../x", "/n", "eth0", "", []byte(conf))
	f.Add("ADD", strings.Repeat("c", 300), "/n", "a-name-of-16-byte", "FOO", []byte(conf))
	f.Add("CHECK", "c1", "/n", "eth%d", "", []byte(`{"cniVersion":"0.3.1","name":"`+strings.Repeat("n", 300)+`"}`))
	f.Add("ADD", "c1", "/n", "eth0", "", []byte(`{"cniVersion":"`+strings.Repeat("9", 1<<20)+`","name":"n"}`))
	for version, result := range results {
		f.Add("DEL", "c1", "", "eth0", "", []byte(`{"cniVersion":"`+version+`","name":"n","prevResult":`+result+`}`))
	}
	for _, list := range []string{`null`, `[]`, `[{"containerID":"c","ifname":"i"}]`, `[null]`, `{}`, `"x"`} {
		f.Add("GC", "", "", "", "", []byte(`{"cniVersion":"1.1.0","name":"n","cni.dev/valid-attachments":`+list+`}`))
		f.Add("GC", "", "", "", "", []byte(`{"cniVersion":"1.1.0","name":"n","cni.dev/attachments":`+list+`}`))
	}
	f.Fuzz(func(t *testing.T, verb, id, netns, ifname, args string, stdin []byte) {
		env := map[string]string{"CNI_COMMAND": verb, "CNI_CONTAINERID": id, "CNI_NETNS": netns, "CNI_IFNAME": ifname, "CNI_ARGS": args}
		getenv := func(key string) string { return env[key] }
		r, err := cni.Read(getenv, bytes.NewReader(stdin))
		printed := cni.PrintError(r.Conf.CNIVersion, errors.Join(err, errors.New("x")))
		if !json.Valid(printed) || len(printed) > 64<<10 {
			t.Errorf("an error of %d bytes: %.300q", len(printed), printed)
		}
		if kerneltest.Refused(t, err, cni.CodeVersion, cni.CodeEnvironment, cni.CodeIO, cni.CodeDecode) {
			return
		}
		if kerneltest.Refused(t, r.CheckName(), cni.CodeConfig) {
			return
		}
		if verb == cni.Add || verb == cni.Del || verb == cni.Check {
			if back, err := name.Parse(r.Attachment.String()); err != nil || back != r.Attachment {
				t.Errorf("%q is read back as %q: %v", r.Attachment, back, err)
			}
		}
		prev, err := r.PrevResult()
		kerneltest.Refused(t, err, cni.CodeDecode)
		for _, as := range []string{cni.Add, cni.GC} {
			with, err := r.With(as, map[string]json.RawMessage{"cniVersion": json.RawMessage(`"1.1.0"`), "name": json.RawMessage(`"n"`)})
			if err != nil {
				t.Fatal(err)
			}
			env["CNI_COMMAND"], env["CNI_CONTAINERID"], env["CNI_NETNS"], env["CNI_IFNAME"] = as, "c", "/n", "eth0"
			other, err := cni.Read(getenv, bytes.NewReader(with.Stdin))
			if err != nil {
				t.Fatalf("%v: %s", err, with.Stdin)
			}
			theirs, err := other.PrevResult()
			if as == cni.Add && (err != nil || !reflect.DeepEqual(theirs, prev)) {
				t.Errorf("the other plugin reads the result as %+v, not %+v: %v", theirs, prev, err)
			}
			r.Network = "n"
			valid, given := r.ValidAttachments()
			if have, ok := other.ValidAttachments(); as == cni.GC && (ok != given || !slices.Equal(have, valid)) {
				t.Errorf("the other plugin reads %v %v, not %v %v", have, ok, valid, given)
			}
		}
	})
}

// FuzzArgs: CNI_ARGS that are taken say the same when they are written again.
func FuzzArgs(f *testing.F) {
	for _, args := range []string{"", "IP=1.2.3.4", "IgnoreUnknown=1;K8S_POD_NAME=p;IP=a=b;", "FOO", "FOO=1", ";;=;", "IP=1;IP=", " ; IP = 1"} {
		f.Add(args)
	}
	f.Add("IgnoreUnknown=1;" + strings.Repeat("A=1;", 10000))
	f.Add(strings.Repeat("A", 1<<20))
	f.Fuzz(func(t *testing.T, args string) {
		got, err := cni.ParseArgs(args, "IP", "MAC")
		if kerneltest.Refused(t, err, cni.CodeEnvironment) {
			return
		}
		var pairs []string
		for key, value := range got {
			pairs = append(pairs, key+"="+value)
		}
		if again, err := cni.ParseArgs(strings.Join(pairs, ";"), "IP", "MAC"); err != nil || !maps.Equal(again, got) {
			t.Errorf("%q: %v, and again %v: %v", args, got, again, err)
		}
	})
}

// FuzzResult reads results of any version and content, and prints them in each: what
// that version can say is there, and reads the same.
func FuzzResult(f *testing.F) {
	for version, text := range results {
		f.Add(version, []byte(text))
		f.Add("1.1.0", []byte(strings.Replace(text, "{", `{"cniVersion":"`+version+`",`, 1)))
	}
	for _, bad := range []string{"null", "[]", `{"ips":[null]}`, `{"cniVersion":"9"}`, `{"ips":[{"address":"10.1.2.3"}]}`, `{"interfaces":[{"name":"\n"}]}`} {
		f.Add("1.0.0", []byte(bad))
	}
	f.Fuzz(func(t *testing.T, version string, text []byte) {
		r, err := cni.ParseResult("x", text, version)
		if kerneltest.Refused(t, err, cni.CodeDecode) {
			return
		}
		for _, as := range versions {
			printed, err := cni.Print(r, as)
			if kerneltest.Refused(t, err, cni.CodeVersion) {
				continue
			}
			back, err := cni.ParseResult("x", printed, "")
			if err != nil {
				t.Fatalf("%s: %v: %s", as, err, printed)
			}
			if got, want := said(back, as), said(r, as); got != want {
				t.Errorf("%s says\n%s\nnot\n%s", as, got, want)
			}
		}
	})
}

// said is what a version can say of a result.
func said(r *cni.Result, version string) string {
	out := fmt.Sprintf("dns %q %q %q %q\n", r.DNS.Nameservers, r.DNS.Domain, r.DNS.Search, r.DNS.Options)
	oldest := !cni.AtLeast(version, "0.3.0")
	families := map[bool]bool{}
	for _, ip := range r.IPs {
		four := cni.Prefix(ip.Address).Addr().Is4()
		if oldest && families[four] {
			continue // there is room for one
		}
		families[four] = true
		out += fmt.Sprint("ip ", ip.Address.String(), " ", ip.Gateway)
		if !oldest && ip.Interface != nil {
			out += fmt.Sprint(" ", *ip.Interface)
		}
		out += "\n"
	}
	for _, route := range r.Routes {
		if four := cni.Prefix(route.Dst).Addr().Is4(); oldest && !families[four] {
			continue // it stands with the address of its family
		}
		out += fmt.Sprint("route ", route.Dst.String(), " ", route.GW)
		if cni.AtLeast(version, "1.1.0") {
			out += fmt.Sprint(" ", route.MTU, route.AdvMSS, route.Priority, pointed(route.Table), pointed(route.Scope))
		}
		out += "\n"
	}
	for _, i := range r.Interfaces {
		if !oldest {
			out += fmt.Sprintf("interface %q %q %q", i.Name, i.Mac, i.Sandbox)
		}
		if cni.AtLeast(version, "1.1.0") {
			out += fmt.Sprintf(" %d %q %q", i.Mtu, i.SocketPath, i.PciID)
		}
	}
	lines := strings.Split(out, "\n")
	if oldest {
		slices.Sort(lines) // it tells them by family
	}
	return strings.Join(lines, "\n")
}

func pointed(n *int) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}
