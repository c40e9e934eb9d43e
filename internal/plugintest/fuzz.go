package plugintest

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/cni/conf"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/ipam"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plugin"
)

// Fuzz reads configurations and CNI_ARGS of any content: what is refused is refused
// well, and a DEL goes on with what could be read; what is taken says the same
// however it is written and whenever it is read.
func Fuzz[C any](f *testing.F, p plugin.Plugin[C]) {
	kerneltest.NeedsTime(f)
	seeds(f, p.Name, new(C))
	linear(f, p.Name, func(stdin []byte) {
		if r, _ := request(f, "", stdin, new(C)); r != nil {
			_, err := planOf(p, r)
			kerneltest.Refused(f, err)
		}
	}, new(C))
	f.Fuzz(func(t *testing.T, args string, stdin []byte) {
		r, ok := request(t, args, stdin, new(C))
		if r == nil {
			return
		}
		plan, err := planOf(p, r)
		if kerneltest.Refused(t, err, cni.CodeDecode, cni.CodeConfig, cni.CodeEnvironment) || !ok {
			return
		}
		var compact bytes.Buffer
		_ = json.Compact(&compact, stdin)
		for _, text := range [][]byte{stdin, compact.Bytes()} {
			r, _ := request(t, args, text, new(C))
			again, err := planOf(p, r)
			if err != nil || again.String() != plan.String() || len(again.Without(plan)) > 0 {
				t.Errorf("read again: %v\n%v\nnot\n%v", err, again, plan)
			}
		}
	})
}

// planOf is what the plugin wants. It is asked for beside an error too, as a DEL
// does.
func planOf[C any](p plugin.Plugin[C], r *cni.Request) (fact.Plan, error) {
	call, c, err := p.Read(r)
	if err == nil {
		err = p.Finish(call, c)
	}
	if p.Want == nil {
		return nil, err
	}
	plan := p.Want(call, c)
	_ = plan.String()
	return plan, err
}

// FuzzIPAM is Fuzz for a plugin that gives addresses: the result that it would have
// is printed and read again.
func FuzzIPAM(f *testing.F, p ipam.Plugin) {
	kerneltest.NeedsTime(f)
	seeds(f, p.Name, p.Shapes()...)
	f.Fuzz(func(t *testing.T, args string, stdin []byte) {
		r, ok := request(t, args, stdin, p.Shapes()...)
		if r == nil || !ok {
			return
		}
		result, err := p.Foresee(r)
		if err != nil {
			kerneltest.Refused(t, err)
			return
		}
		text, err := cni.Print(result, r.Conf.CNIVersion)
		if kerneltest.Refused(t, err, cni.CodeVersion) {
			return
		}
		back, err := cni.ParseResult(p.Name, text, "")
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if again, err := cni.Print(back, r.Conf.CNIVersion); err != nil || !bytes.Equal(again, text) {
			t.Errorf("read again: %v %s\nnot %s", err, again, text)
		}
	})
}

// FuzzDelegator is Fuzz for a plugin that composes another one's configuration,
// which that one must be able to read.
func FuzzDelegator[C any](f *testing.F, p plugin.Delegator[C]) {
	kerneltest.NeedsTime(f)
	seeds(f, p.Name, new(C))
	f.Fuzz(func(t *testing.T, args string, stdin []byte) {
		r, ok := request(t, args, stdin, new(C))
		if r == nil {
			return
		}
		c, err := p.Read(r)
		d, composeErr := p.Compose(r, c) // as a DEL does
		if kerneltest.Refused(t, err, cni.CodeDecode, cni.CodeConfig) || !ok || kerneltest.Refused(t, composeErr) {
			return
		}
		with, err := r.With(cni.Add, d)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := request(t, args, with.Stdin, map[string]any(nil)); !ok || other.Network != r.Network {
			t.Errorf("the other plugin's: %s", with.Stdin)
		}
	})
}

// request is an ADD with a configuration, nil where that leaves nothing to a DEL
// either. An ADD would go on where ok says so.
func request(t testing.TB, args string, stdin []byte, shapes ...any) (r *cni.Request, ok bool) {
	env := map[string]string{
		"CNI_COMMAND": cni.Add, "CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/c1", "CNI_IFNAME": "eth0", "CNI_ARGS": args,
	}
	r, err := cni.Read(func(key string) string { return env[key] }, bytes.NewReader(stdin))
	if kerneltest.Refused(t, err, cni.CodeVersion, cni.CodeDecode) {
		if cni.HopelessFor(err) {
			return nil, false
		}
		return r, false
	}
	_, err = r.Lint(shapes...)
	return r, !kerneltest.Refused(t, err, cni.CodeUnsupported, cni.CodeConfig) && !kerneltest.Refused(t, r.CheckName(), cni.CodeConfig)
}

// prev is a result that a chained plugin works on, in the versions that write it
// differently.
var prev = map[string]string{
	"0.2.0": `{"ip4":{"ip":"10.1.2.3/24","gateway":"10.1.2.1","routes":[{"dst":"0.0.0.0/0"}]},"ip6":{"ip":"fd00:1:2::3/64"}}`,
	"0.4.0": `{"interfaces":[{"name":"cni0"},{"name":"eth0","mac":"02:00:00:00:00:01","sandbox":"/run/netns/c1"}],` +
		`"ips":[{"version":"4","address":"10.1.2.3/24","gateway":"10.1.2.1","interface":1}],"routes":[{"dst":"0.0.0.0/0","gw":"10.1.2.1"}]}`,
	"1.1.0": `{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01","mtu":1500,"sandbox":"/run/netns/c1"}],` +
		`"ips":[{"address":"10.1.2.3/24","gateway":"10.1.2.1","interface":0},{"address":"fd00:1:2::3/64","interface":0}],` +
		`"routes":[{"dst":"0.0.0.0/0"},{"dst":"10.7.0.0/16","gw":"10.1.2.9","mtu":1400,"priority":5}],"dns":{"nameservers":["10.1.2.53"]}}`,
}

// hostile are the values that stand for each of a seed's in turn.
var hostile = []string{
	`null`, `""`, `[]`, `{}`, `[null]`, `true`, `-1`, `65536`, `18446744073709551616`, `1e400`, `"a\u0000\n\u001b"`, `"../x"`,
	`"0.0.0.0/0"`, `"255.255.255.255/32"`, `"ffff::/129"`, `"::ffff:10.0.0.1/104"`, `"fe80::1%eth0"`, `{"x":[{}]}`,
}

// seeds are the plugin's configurations of conflist-examples, and one that has every
// key there is, with each of its values replaced by hostile ones.
func seeds(f *testing.F, name string, shapes ...any) {
	f.Helper()
	for version, text := range prev {
		f.Add("", whole(version, name, map[string]any{"prevResult": json.RawMessage(text)}))
	}
	for _, c := range examples(f, name) {
		c["prevResult"] = json.RawMessage(prev["1.1.0"])
		f.Add("IgnoreUnknown=1;K8S_POD_NAME=p", whole("1.1.0", name, c))
	}
	c := full(f, shapes...)
	c["prevResult"] = json.RawMessage(prev["1.1.0"])
	f.Add("MAC=02:00:00:00:00:07;IP=10.1.2.3/24;GATEWAY=10.1.2.1", whole("1.0.0", name, c))
	replaced(c, func() {
		text, _ := json.Marshal(c)
		f.Add("IP=x", text)
	})
}

// full is a configuration with every key of the schema.
func full(f *testing.F, shapes ...any) map[string]any {
	text, err := conf.Schema("", append(shapes, new(cni.Conf))...)
	var schema map[string]any
	if err == nil {
		err = json.Unmarshal(text, &schema)
	}
	if err != nil {
		f.Fatal(err)
	}
	return sample(schema).(map[string]any)
}

// whole is a configuration with what every one has.
func whole(version, name string, c map[string]any) []byte {
	c["cniVersion"], c["name"], c["type"] = version, "n", name
	text, _ := json.Marshal(c)
	return text
}

// examples are a plugin's configurations in conflist-examples, as it gets them: an IPAM
// plugin that of the one which asks it.
func examples(f *testing.F, name string) (all []map[string]any) {
	files, err := filepath.Glob("../../../conflist-examples/*.conf*")
	if err != nil || len(files) == 0 {
		f.Fatalf("no examples: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		var list struct{ Plugins []map[string]any }
		var one map[string]any
		if err != nil || json.Unmarshal(text, &list) != nil || json.Unmarshal(text, &one) != nil {
			f.Fatalf("%s: %v", file, err)
		}
		for _, c := range append(list.Plugins, one) {
			ipam, _ := c["ipam"].(map[string]any)
			if c["type"] == name || ipam["type"] == name {
				all = append(all, c)
			}
		}
	}
	return all
}

// sample is a value that a schema allows.
func sample(schema map[string]any) any {
	if enum, ok := schema["enum"].([]any); ok {
		return enum[0]
	}
	if value, ok := schema["default"]; ok {
		return value
	}
	kind := schema["type"]
	if kinds, ok := kind.([]any); ok {
		kind = kinds[0]
	}
	switch kind {
	case "boolean":
		return true
	case "integer":
		if least, ok := schema["minimum"]; ok {
			return least
		}
		return 1
	case "array":
		items, _ := schema["items"].(map[string]any)
		return []any{sample(items)}
	case "object":
		out := map[string]any{}
		properties, _ := schema["properties"].(map[string]any)
		for key, p := range properties {
			out[key] = sample(p.(map[string]any))
		}
		return out
	}
	return "10.1.2.3/24"
}

// replaced calls do with each value below v replaced by each of the hostile ones in turn.
func replaced(v any, do func()) {
	each := func(value any, set func(any)) {
		for _, other := range hostile {
			set(json.RawMessage(other))
			do()
		}
		set(value)
		replaced(value, do)
	}
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			each(value, func(other any) { v[key] = other })
		}
	case []any:
		for i, value := range v {
			each(value, func(other any) { v[i] = other })
		}
	}
}
