package plugin_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// ipam is a home-made IPAM plugin, a shell script: it writes down what it was
// asked, and answers what the test wants. It writes down too where an address is
// to be released that the pod still has a link for.
const ipam = `#!/bin/sh
/bin/echo "$CNI_COMMAND" >> %[1]s/calls
[ "$CNI_COMMAND" = DEL ] && /usr/bin/nsenter --net="$CNI_NETNS" /sbin/ip link show "$CNI_IFNAME" >/dev/null 2>&1 && /bin/echo early >> %[1]s/calls
[ "$1" = result ] && { /bin/cat %[1]s/ADD; exit 0; }
/bin/cat > /dev/null
[ -e %[1]s/"$CNI_COMMAND" ] && /bin/cat %[1]s/"$CNI_COMMAND"
[ -e %[1]s/"$CNI_COMMAND".fails ] && exit 1
exit 0
`

const onAddress = `{"cniVersion":"1.0.0","ips":[{"address":"10.1.2.3/24","gateway":"10.1.2.1"},{"address":"fd00::3/64","gateway":"fd00::1"}],"routes":[{"dst":"0.0.0.0/0"}]}`

// world is a sandbox with bridge and the home-made IPAM plugin.
type world struct {
	*kerneltest.Sandbox
	bin string
	dir string
}

func newWorld(t *testing.T) world {
	t.Helper()
	built := kerneltest.Build(t, "plugins/main/bridge")
	w := world{kerneltest.New(t), t.TempDir(), t.TempDir()}
	if err := os.Symlink(filepath.Join(built, "bridge"), filepath.Join(w.bin, "bridge")); err != nil {
		t.Fatal(err)
	}
	w.write(t, filepath.Join(w.bin, "home-made"), fmt.Sprintf(ipam, w.dir), 0o755)
	w.answers(t, "ADD", onAddress)
	return w
}

func (w world) write(t *testing.T, file, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func (w world) answers(t *testing.T, verb, text string) {
	w.write(t, filepath.Join(w.dir, verb), text, 0o644)
}

func (w world) fails(t *testing.T, verb, text string) {
	w.answers(t, verb, text)
	w.write(t, filepath.Join(w.dir, verb+".fails"), "", 0o644)
}

func (w world) calls() string {
	b, _ := os.ReadFile(filepath.Join(w.dir, "calls"))
	_ = os.Remove(filepath.Join(w.dir, "calls"))
	return strings.Join(strings.Fields(string(b)), " ")
}

// conf is bridge's configuration with the home-made IPAM, and more keys.
func conf(version, more string) string {
	return fmt.Sprintf(`{"cniVersion":%q,"name":"net","type":"bridge","bridge":"br0","isGateway":true,"ipMasq":true,"ipam":{"type":"home-made"}%s}`, version, more)
}

func (w world) call(verb, conf string) kerneltest.Call {
	return kerneltest.Call{Bin: w.bin, Plugin: "bridge", Verb: verb, Conf: conf}
}

func prev(result string) string { return `,"prevResult":` + result }

// TestVersions runs the verbs in every version of the specification.
func TestVersions(t *testing.T) {
	for _, v := range []string{"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		t.Run(v, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			result := w.Must(w.call("ADD", conf(v, ""))).Stdout
			var r map[string]any
			if err := json.Unmarshal([]byte(result), &r); err != nil || r["cniVersion"] != v {
				t.Fatalf("%v: %s", err, result)
			}
			old := v == "0.1.0" || v == "0.2.0"
			if _, has := r["ip4"]; has != old {
				t.Errorf("ip4 there: %t\n%s", has, result)
			}
			if _, has := r["interfaces"]; has == old {
				t.Errorf("interfaces there: %t\n%s", has, result)
			}
			check := w.Call(w.call("CHECK", conf(v, prev(result))))
			if can := v >= "0.4.0"; can != (check.Exit == 0) || !can && check.Code != 1 {
				t.Errorf("CHECK: %d %s", check.Code, check.Msg)
			}
			for _, verb := range []string{"STATUS", "GC"} {
				a := w.Call(w.call(verb, conf(v, `,"cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}]`)))
				if can := v >= "1.1.0"; can != (a.Exit == 0) || !can && a.Code != 1 {
					t.Errorf("%s: %d %s", verb, a.Code, a.Msg)
				}
			}
			w.Must(w.call("DEL", conf(v, prev(result))))
			w.Must(w.call("DEL", conf(v, "")))
			if a := w.Must(w.call("VERSION", "")); !strings.Contains(a.Stdout, `"`+v+`"`) {
				t.Errorf("VERSION: %s", a.Stdout)
			}
		})
	}
}

// TestResult: interfaces in upstream's order, which later plugins count on, and
// from 1.1.0 on with their MTUs.
func TestResult(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	out := w.Must(w.call("ADD", conf("1.1.0", `,"mtu":1400,"dns":{"nameservers":["10.1.2.1"]}`))).Stdout
	var r struct {
		Interfaces []struct {
			Name, Mac, Sandbox string
			Mtu                int
		}
		IPs []struct{ Interface *int }
		DNS struct{ Nameservers []string }
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Interfaces) != 3 || r.Interfaces[0].Name != "br0" || r.Interfaces[2].Name != "eth0" || r.Interfaces[2].Sandbox != w.Pod {
		t.Fatalf("interfaces: %+v", r.Interfaces)
	}
	for _, i := range r.Interfaces {
		link := "ip -br link show " + i.Name
		if i.Sandbox != "" {
			link = "pod " + link
		}
		if text := w.Run(link); i.Mac == "" || !strings.Contains(text, i.Mac) {
			t.Errorf("%s is reported with %q, and has %s", i.Name, i.Mac, text)
		}
		if i.Mtu != 1400 {
			t.Errorf("%s is reported with mtu %d", i.Name, i.Mtu)
		}
	}
	for _, ip := range r.IPs {
		if ip.Interface == nil || *ip.Interface != 2 {
			t.Errorf("an address is not the pod's: %s", out)
		}
	}
	if len(r.DNS.Nameservers) != 1 {
		t.Errorf("dns: %+v", r.DNS)
	}
}

// TestFailuresGiveBack: whatever fails, the address is given back and nothing
// is left. An IPAM plugin that says that the attachment has its address already
// is not told to give it back: that is a living pod's.
func TestFailuresGiveBack(t *testing.T) {
	for _, row := range []struct {
		name  string
		setup func(*testing.T, world)
		conf  string
		code  uint
		words string
		calls string
	}{
		{"IPAM fails", func(t *testing.T, w world) { w.fails(t, "ADD", `{"code":11,"msg":"come back later","details":"d"}`) }, conf("1.0.0", ""), 11, "come back later", "ADD DEL"},
		{"IPAM has it already", func(t *testing.T, w world) { w.fails(t, "ADD", `{"code":101,"msg":"it has 10.1.2.3"}`) }, conf("1.0.0", ""), 101, "10.1.2.3", "ADD"},
		{"IPAM gives nothing", func(t *testing.T, w world) { w.answers(t, "ADD", `{"cniVersion":"1.0.0"}`) }, conf("1.0.0", ""), 7, "gave no address", "ADD DEL"},
		{"IPAM gives no JSON", func(t *testing.T, w world) { w.answers(t, "ADD", `hello`) }, conf("1.0.0", ""), 6, "result", "ADD DEL"},
		{"IPAM dies silently", func(t *testing.T, w world) { w.fails(t, "ADD", "") }, conf("1.0.0", ""), 100, "home-made printed no error", "ADD DEL"},
		{"no room for a gateway", func(t *testing.T, w world) {
			w.answers(t, "ADD", `{"cniVersion":"1.0.0","ips":[{"address":"10.1.2.3/32"}]}`)
		}, conf("1.0.0", ""), 7, "no room", "ADD DEL"},
		{"a route that cannot be", func(t *testing.T, w world) {
			w.answers(t, "ADD", `{"cniVersion":"1.0.0","ips":[{"address":"10.1.2.3/24"}],"routes":[{"dst":"10.9.0.0/16","gw":"10.1.2.1","scope":254}]}`)
		}, conf("1.0.0", ""), 100, "route pod 10.9.0.0/16", "ADD DEL"},
		{"the interface is there", func(t *testing.T, w world) { w.Run("pod ip link add eth0 type veth peer name x") }, conf("1.0.0", ""), 101, "eth0", ""},
		{"a result that 0.2.0 cannot say", func(*testing.T, world) {}, `{"cniVersion":"0.2.0","name":"net","type":"bridge","bridge":"br0"}`, 1, "0.2.0", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			// What is shared is there already.
			w.Must(w.call("ADD", conf("1.0.0", "")))
			w.Must(w.call("DEL", conf("1.0.0", "")))
			w.calls()
			row.setup(t, w)
			w.Refuses(w.call("ADD", row.conf), row.code, row.words)
			if calls := w.calls(); calls != row.calls {
				t.Errorf("IPAM was called for %q, not %q", calls, row.calls)
			}
		})
	}
}

// TestSecondAdd harms nothing of the first, whose result libcni keeps: above all
// its address stays.
func TestSecondAdd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Must(w.call("ADD", conf("1.0.0", "")))
	w.Finished("net", "c1")
	w.calls()
	w.Refuses(w.call("ADD", conf("1.0.0", "")), 101, "eth0")
	if calls := w.calls(); calls != "" {
		t.Errorf("IPAM was called: %s", calls)
	}
}

// TestUnfinishedAdd: what an ADD has left of whose end nobody knows is in no later
// one's way.
func TestUnfinishedAdd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Must(w.call("ADD", conf("1.0.0", "")))
	w.Must(w.call("DEL", conf("1.0.0", "")))
	before := w.Text()
	first := w.Must(w.call("ADD", conf("1.0.0", ""))).Stdout
	w.calls()
	if again := w.Must(w.call("ADD", conf("1.0.0", ""))).Stdout; again != first {
		t.Errorf("%s\nis not\n%s", again, first)
	}
	if calls := w.calls(); calls != "DEL ADD" {
		t.Errorf("IPAM was called for %q", calls)
	}
	w.Must(w.call("CHECK", conf("1.0.0", prev(first))))
	w.Must(w.call("DEL", conf("1.0.0", "")))
	w.Same("DEL", before, w.Text())
}

// TestDelGoesOn whatever is broken.
func TestDelGoesOn(t *testing.T) {
	result := `{"cniVersion":"1.0.0","ips":[]}`
	for _, row := range []struct {
		name string
		conf string
		call func(*kerneltest.Call)
		exit int
	}{
		{"wrong types", conf("1.0.0", `,"vlan":"x","isGateway":3`), nil, 0},
		{"values out of range", conf("1.0.0", `,"vlan":9999`), nil, 0},
		{"conflicting options", conf("1.0.0", `,"hairpinMode":true,"promiscMode":true`), nil, 0},
		{"broken prevResult", conf("1.0.0", `,"prevResult":{"cniVersion":"7","ips":3}`), nil, 0},
		{"options that have changed since", `{"cniVersion":"1.0.0","name":"net","type":"bridge","bridge":"other","ipam":{"type":"home-made"}}`, nil, 0},
		{"unknown version", conf("3.0.0", ""), nil, 0},
		{"broken arguments", conf("1.0.0", prev(result)), func(c *kerneltest.Call) { c.Args = "FOO;;" }, 0},
		{"no namespace there", conf("1.0.0", ""), func(c *kerneltest.Call) { c.Netns = "/nowhere/at/all" }, 0},
		{"no namespace but a file", conf("1.0.0", ""), func(c *kerneltest.Call) { c.Netns = "/etc/passwd" }, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Must(w.call("ADD", conf("1.0.0", "")))
			w.Must(w.call("DEL", conf("1.0.0", "")))
			before := w.Text()
			w.Must(w.call("ADD", conf("1.0.0", `,"macspoofchk":true`)))
			w.calls()
			c := w.call("DEL", row.conf)
			if row.call != nil {
				row.call(&c)
			}
			if a := w.Call(c); a.Exit != row.exit {
				t.Errorf("DEL: %d %s", a.Code, a.Msg)
			}
			if calls := w.calls(); calls != "DEL" {
				t.Errorf("IPAM was called for %q", calls)
			}
			w.Run("nft delete table bridge catena; rm -f /run/catena/nft/ready/7-made")
			w.Same("DEL", before, w.Text())
		})
	}
}

// TestDelReportsIPAM: the link goes although the address cannot, and the
// runtime is told.
func TestDelReportsIPAM(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Must(w.call("ADD", conf("1.0.0", "")))
	w.fails(t, "DEL", `{"code":5,"msg":"disk on fire"}`)
	a := w.Call(w.call("DEL", conf("1.0.0", "")))
	if a.Code != 5 || !strings.Contains(a.Msg, "disk on fire") {
		t.Errorf("%d %s", a.Code, a.Msg)
	}
	if text := w.Run("ip -br link"); strings.Contains(text, "veth") {
		t.Errorf("the link is still there:\n%s", text)
	}
}

// TestOwnNamespace: the check comes before any work. For DEL it is no error: see
// TestDelInTheHostsNamespace.
func TestOwnNamespace(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"ADD", "CHECK"} {
		w := newWorld(t)
		c := w.call(verb, conf("1.0.0", ""))
		c.Netns = "/proc/self/ns/net"
		w.Refuses(c, 8, "CNI_NETNS")
		if calls := w.calls(); calls != "" {
			t.Errorf("%s: IPAM was called for %s", verb, calls)
		}
	}
}

// TestGC removes what is not valid and nothing else, and tells a missing list
// from an empty one.
func TestGC(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gc := func(valid string) kerneltest.Call { return w.call("GC", conf("1.1.0", valid)) }
	w.Must(w.call("ADD", conf("1.1.0", "")))
	w.Must(w.call("DEL", conf("1.1.0", "")))
	none := w.Text()
	w.Must(w.call("ADD", conf("1.1.0", "")))
	one := w.Text()

	w.answers(t, "ADD", strings.ReplaceAll(strings.ReplaceAll(onAddress, "10.1.2.3", "10.1.2.4"), "fd00::3", "fd00::4"))
	other := w.call("ADD", conf("1.1.0", ""))
	other.ContainerID, other.Netns = "c2", w.Pod+"2"
	w.NewPod(other.Netns)
	w.Must(other)
	w.calls()

	both := w.Text()
	w.Must(gc("")) // both pods are alive
	w.calls()
	w.Same("GC that is not told who lives", both, w.Text())
	w.Must(gc(`,"cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}]`))
	if calls := w.calls(); calls != "GC" {
		t.Errorf("IPAM was called for %q", calls)
	}
	w.Same("GC with one alive", one, w.Text())
	foreign := strings.Replace(conf("1.1.0", `,"cni.dev/valid-attachments":[]`), `"net"`, `"foreign"`, 1)
	w.Must(w.call("GC", foreign))
	w.Same("GC of another network", one, w.Text())
	w.Must(other)
	w.Must(gc(`,"cni.dev/valid-attachments":[]`))
	w.Same("GC with none alive", none, w.Text())
}

// TestGCFindsWhatNoRecordSpeaksOf: members whose record was lost.
func TestGCFindsWhatNoRecordSpeaksOf(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Must(w.call("ADD", conf("1.1.0", "")))
	w.Run("rm -r /run/catena; ip link del br0; ip link del $(ip -o link | grep -o 'veth[0-9a-f]*' | head -1)")
	if !strings.Contains(w.Run("nft list ruleset"), "10.1.2.3") {
		t.Fatal("the member is gone before GC")
	}
	w.Must(w.call("GC", conf("1.1.0", `,"cni.dev/valid-attachments":[]`)))
	if text := w.Run("nft list ruleset"); strings.Contains(text, "10.1.2.3") {
		t.Errorf("the member is still there:\n%s", text)
	}
}

// TestStatus looks at what an ADD needs, and asks IPAM.
func TestStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Must(w.call("STATUS", conf("1.1.0", ""))) // which notes once in a boot what the kernel can do
	before := w.Text()
	w.Must(w.call("STATUS", conf("1.1.0", "")))
	w.Same("STATUS", before, w.Text())
	w.fails(t, "STATUS", `{"code":50,"msg":"no addresses left"}`)
	if a := w.Call(w.call("STATUS", conf("1.1.0", ""))); a.Code != 50 || !strings.Contains(a.Msg, "no addresses left") {
		t.Errorf("%d %s", a.Code, a.Msg)
	}
	w.Run("rm " + w.dir + "/STATUS*; ip link add br0 type veth peer name x")
	if a := w.Call(w.call("STATUS", conf("1.1.0", ""))); a.Code != 50 || !strings.Contains(a.Msg, "br0 is a veth") {
		t.Errorf("%d %s", a.Code, a.Msg)
	}
}

// TestPeople: a plugin run with an argument touches nothing.
func TestPeople(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.Text()
	w.write(t, filepath.Join(w.dir, "conf"), conf("1.0.0", ""), 0o644)
	env := "CNI_PATH=" + w.bin + " CNI_CONTAINERID=c1 CNI_NETNS=" + w.Pod + " CNI_IFNAME=eth0 "
	plan := w.Run(env + w.bin + "/bridge plan < " + w.dir + "/conf")
	for _, fact := range []string{"link host bridge br0", "nft  masquerade masq4 { 10.1.2.3 }", "addr pod eth0 fd00::3/64", "route pod 0.0.0.0/0 dev eth0 via 10.1.2.1"} {
		if !strings.Contains(plan, fact) {
			t.Errorf("the plan lacks %q:\n%s", fact, plan)
		}
	}
	if result := w.Run(env + w.bin + "/bridge result < " + w.dir + "/conf"); !strings.Contains(result, "10.1.2.3/24") {
		t.Errorf("result: %s", result)
	}
	w.Same("plan and result", before, w.Text())
	if calls := w.calls(); strings.Contains(calls, "ADD") {
		t.Errorf("IPAM was called for %q", calls)
	}
	schema := w.Run(w.bin + "/bridge schema")
	var s struct {
		Properties map[string]struct {
			Description string
			Default     any
		}
	}
	if err := json.Unmarshal([]byte(schema), &s); err != nil {
		t.Fatal(err)
	}
	for key, p := range s.Properties {
		if p.Description == "" {
			t.Errorf("the schema does not say what %s does", key)
		}
	}
	if s.Properties["bridge"].Default != "cni0" || len(s.Properties) < 25 {
		t.Errorf("schema: %s", schema)
	}
	if _, err := w.Try(w.bin + "/bridge nonsense"); err == nil {
		t.Error("an unknown argument is accepted")
	}
}
