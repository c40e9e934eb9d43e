package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestClassic is the lease and the configuration that the first users have.
func TestClassic(t *testing.T) {
	w := newWorld(t)
	w.lease(classic)
	before := w.Text()
	c := w.flannel("ADD", `{"name":"mynet","type":"flannel"}`)
	out := w.Must(c).Stdout
	if !strings.Contains(out, `"ip": "192.168.22.130/26"`) || !strings.Contains(out, `"cniVersion": "0.1.0"`) {
		t.Error(out)
	}
	if out := w.Run("pod ip addr show eth0"); !strings.Contains(out, "mtu 1450") || !strings.Contains(out, "inet 192.168.22.130/26 ") {
		t.Error(out)
	}
	if out := w.Run("pod ip route"); !strings.Contains(out, "192.168.0.0/16 via 192.168.22.129 dev eth0") {
		t.Error(out)
	}
	if out := w.Run("nft list ruleset"); !strings.Contains(out, "192.168.22.130") {
		t.Errorf("flanneld does not masquerade, and the bridge neither:\n%s", out)
	}
	w.keeps("c1")
	c.Verb = "DEL"
	w.Must(c)
	w.Must(c)
	w.keeps("")
	w.Run("ip link del cni0; nft delete table inet catena; rm -r /run/catena /var/lib/cni/networks; sysctl -qw net.ipv4.ip_forward=0; rmdir " + stateDir)
	w.Same("DEL", before, w.Text())
}

// TestEveryVersion is given by the pod's plugin in its own version, and by
// flannel in that of its configuration.
func TestEveryVersion(t *testing.T) {
	w := newWorld(t)
	for _, v := range []string{"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		c := w.flannel("ADD", fmt.Sprintf(`{"cniVersion":%q,"name":"n","type":"flannel"%s}`, v, byHomeMade))
		var r struct{ CNIVersion string }
		if err := json.Unmarshal([]byte(w.Must(c).Stdout), &r); err != nil || r.CNIVersion != v {
			t.Errorf("%s: %v %+v", v, err, r)
		}
		if got := w.given("ADD")["cniVersion"]; got != v {
			t.Errorf("%s: home-made was given %v", v, got)
		}
		c.Verb = "DEL"
		w.Must(c)
	}
}

// TestVerbs forwards all six, with what each needs.
func TestVerbs(t *testing.T) {
	w := newWorld(t)
	first := `{"cniVersion":"1.1.0","ips":[{"address":"10.9.9.9/24"}]}`
	w.Must(w.flannel("STATUS", network(byHomeMade)))
	w.called("STATUS c1 eth0 POD")
	w.Must(w.flannel("ADD", network(byHomeMade+prev(first)+`,"runtimeConfig":{"mac":"02:00:00:00:00:01"}`)))
	w.called("ADD c1 eth0 POD")
	added := w.given("ADD")
	if added["some"] != "thing" || added["name"] != "n" || added["prevResult"] == nil || added["runtimeConfig"] == nil {
		t.Errorf("%v", added)
	}
	result := `{"cniVersion":"1.1.0","ips":[{"address":"192.168.22.140/26"}]}`
	// What has changed meanwhile does not count, what the runtime adds does.
	changed := `,"delegate":{"type":"home-made","some":"thing else"}`
	w.Must(w.flannel("CHECK", network(changed+prev(result))))
	w.called("CHECK c1 eth0 POD")
	w.Must(w.flannel("GC", network(changed+`,"cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}]`)))
	w.called("GC c1 eth0 POD")
	w.Must(w.flannel("DEL", network(changed+prev(result))))
	w.called("DEL c1 eth0 POD")
	delete(added, "prevResult")
	for _, verb := range []string{"CHECK", "DEL"} {
		got := w.given(verb)
		if r, _ := got["prevResult"].(map[string]any); fmt.Sprint(r["ips"]) != "[map[address:192.168.22.140/26]]" {
			t.Errorf("%s: prevResult is %v", verb, r)
		}
		delete(got, "prevResult")
		if !reflect.DeepEqual(got, added) {
			t.Errorf("%s was given %v, and ADD %v", verb, got, added)
		}
	}
	gc := w.given("GC")
	if gc["some"] != "thing else" || fmt.Sprint(gc["cni.dev/valid-attachments"]) != "[map[containerID:c1 ifname:eth0]]" {
		t.Errorf("GC: %v", gc)
	}
	if a := w.Must(w.flannel("VERSION", "{}")); !strings.Contains(a.Stdout, `"1.1.0"`) {
		t.Error(a.Stdout)
	}
	w.called("")
	w.keeps("")
}

// TestDelFails: what an attachment was made with is kept until a DEL succeeds.
func TestDelFails(t *testing.T) {
	w := newWorld(t)
	w.Must(w.flannel("ADD", network(byHomeMade)))
	recovers := w.fails("DEL", `{"cniVersion":"1.1.0","code":5,"msg":"disk on fire"}`)
	for range 2 {
		if a := w.Call(w.flannel("DEL", network(byHomeMade))); a.Code != 5 || !strings.Contains(a.Msg, "disk on fire") {
			t.Errorf("%d %s", a.Code, a.Msg)
		}
		w.keeps("c1")
	}
	recovers()
	w.calls()
	w.Must(w.flannel("DEL", network(byHomeMade)))
	w.called("DEL c1 eth0 POD")
	w.keeps("")
}

// TestDelWithoutTheFiles finds all that was made, whatever of the two files is
// gone, torn, or of another time.
func TestDelWithoutTheFiles(t *testing.T) {
	for what, broken := range map[string]string{
		"no lease":               "rm " + subnetEnv,
		"another lease":          "sed -i s/192.168.22.129/192.168.23.1/ " + subnetEnv,
		"a torn lease":           "echo FLANNEL_MTU > " + subnetEnv,
		"no state":               "rm " + stateDir + "c1",
		"neither":                "rm " + subnetEnv + " " + stateDir + "c1",
		"torn state":             "truncate -s 20 " + stateDir + "c1",
		"empty state":            ": > " + stateDir + "c1",
		"garbage":                "echo 7 > " + stateDir + "c1",
		"wrong types":            `echo '{"name":7,"type":{}}' > ` + stateDir + "c1",
		"a torn state, no lease": "truncate -s 20 " + stateDir + "c1; rm " + subnetEnv,
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			c := w.flannel("ADD", network(""))
			w.Must(c)
			c.Verb = "DEL"
			w.Must(c)
			env, _ := os.ReadFile(subnetEnv)
			before := w.Text()
			c.Verb = "ADD"
			w.Must(c)
			w.Run(broken)
			c.Verb, c.Netns = "DEL", "/run/netns/gone"
			w.Must(c)
			w.Must(c)
			w.keeps("")
			w.lease(string(env))
			w.Same("DEL", before, w.Text())
		})
	}
}

// TestDelOnNothing succeeds, whatever is wrong, and says what it could not ask.
func TestDelOnNothing(t *testing.T) {
	for what, c := range map[string]struct{ conf, setup string }{
		"a plugin that is not there":       {network(`,"delegate":{"type":"nowhere"}`), ""},
		"a plugin that needs its ranges":   {network(byHomeMade), "rm " + subnetEnv},
		"a configuration that cannot be":   {network(`,"delegate":{"type":"home-made","ipam":{}},"dataDir":"x"`), ""},
		"a type that is no string":         {network(`,"delegate":{"type":7}`), ""},
		"a configuration of wrong types":   {network(`,"delegate":"home-made","ipam":[],"dataDir":7`), ""},
		"a version that nobody has":        {strings.Replace(network(byHomeMade), "1.1.0", "7.0.0", 1), "rm " + subnetEnv},
		"a previous result that is broken": {network(byHomeMade + prev(`{"cniVersion":"7","ips":3}`)), ""},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.Run(c.setup)
			w.fails("DEL", `{"code":7,"msg":"no IP ranges specified"}`)
			if a := w.Must(w.flannel("DEL", c.conf)); !strings.Contains(a.Stderr, "n/c1/eth0") && !strings.Contains(what, "wrong types") {
				t.Errorf("nobody is told: %q", a.Stderr)
			}
			w.keeps("")
		})
	}
	t.Run("an honest error", func(t *testing.T) {
		w := newWorld(t)
		w.fails("DEL", `{"code":5,"msg":"disk on fire"}`)
		if a := w.Call(w.flannel("DEL", network(byHomeMade))); a.Code != 5 {
			t.Errorf("%d %s", a.Code, a.Msg)
		}
	})
}

// TestAddFails: what the other plugin has half made is taken away with what it
// was given, and kept is only what could not be taken away.
func TestAddFails(t *testing.T) {
	for _, row := range []struct {
		name, answer, del string
		code              uint
		calls, keeps      string
	}{
		{"an error", `{"code":11,"msg":"come back later"}`, "", 11, "ADD c1 eth0 POD, DEL c1 eth0 POD", ""},
		{"no word", "", "", 100, "ADD c1 eth0 POD, DEL c1 eth0 POD", ""},
		{"DEL fails too", `{"code":100,"msg":"half made"}`, `{"code":5,"msg":"disk on fire"}`, 100, "ADD c1 eth0 POD, DEL c1 eth0 POD", "c1"},
		{"the interface is there", `{"code":101,"msg":"eth0 is there"}`, "", 101, "ADD c1 eth0 POD", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.fails("ADD", row.answer)
			if row.del != "" {
				w.fails("DEL", row.del)
			}
			if a := w.Call(w.flannel("ADD", network(byHomeMade))); a.Code != row.code {
				t.Errorf("%d %s", a.Code, a.Msg)
			}
			w.called(row.calls)
			w.keeps(row.keeps)
		})
	}
	for what, result := range map[string]string{
		"no JSON":                        "hello",
		"nothing":                        "",
		"what the version has not":       `{"cniVersion":"1.0.0","interfaces":[{"name":"eth0"}]}`,
		"a version that nobody has":      `{"cniVersion":"7.0.0"}`,
		"something that is not a result": `[]`,
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.write(w.dir+"/result", result)
			a := w.Call(w.flannel("ADD", strings.Replace(network(byHomeMade), "1.1.0", "0.2.0", 1)))
			if a.Exit == 0 {
				t.Error(a.Stdout)
			}
			w.called("ADD c1 eth0 POD, DEL c1 eth0 POD")
			w.keeps("")
		})
	}
}

// TestSecondAdd harms nothing of the first, however the other plugin refuses.
func TestSecondAdd(t *testing.T) {
	w := newWorld(t)
	w.Must(w.flannel("ADD", network(byHomeMade)))
	content := w.Run("cat " + stateDir + "c1")
	w.calls()
	w.fails("ADD", `{"code":999,"msg":"container veth name eth0 already exists"}`)
	if a := w.Call(w.flannel("ADD", network(`,"delegate":{"type":"home-made","some":"thing else"}`))); a.Code != 999 {
		t.Errorf("%d %s", a.Code, a.Msg)
	}
	w.called("ADD c1 eth0 POD")
	if now := w.Run("cat " + stateDir + "c1"); now != content {
		t.Errorf("%s\nis not\n%s", now, content)
	}
}

// TestAddAfterReboot: what was kept of a pod that is gone is no second ADD's.
func TestAddAfterReboot(t *testing.T) {
	w := newWorld(t)
	w.Must(w.flannel("ADD", network(byHomeMade)))
	again := w.flannel("ADD", network(byHomeMade))
	again.Netns = w.Pod + "2"
	w.NewPod(again.Netns)
	w.Run(`umount "$POD"`)
	w.calls()
	recovers := w.fails("ADD", `{"code":100,"msg":"half made"}`)
	w.Call(again)
	w.called("ADD c1 eth0 POD2, DEL c1 eth0 POD2")
	w.keeps("")
	recovers()
	w.Must(again)
	w.keeps("c1")
}

// TestOther networks and interfaces of a container are kept apart.
func TestOtherAttachments(t *testing.T) {
	w := newWorld(t)
	other := w.flannel("ADD", strings.Replace(network(byHomeMade), `"n"`, `"m"`, 1))
	other.IfName = "net1"
	w.Must(w.flannel("ADD", network(byHomeMade)))
	w.Must(other)
	w.keeps("c1 c1:net1")
	other.Verb = "DEL"
	w.calls()
	w.Must(other)
	w.called("DEL c1 net1 POD")
	if name := w.given("DEL")["name"]; name != "m" {
		t.Errorf("DEL was for %v", name)
	}
	w.keeps("c1")
	// The same interface in another network is refused while the first lives.
	other.Verb, other.IfName = "ADD", "eth0"
	w.calls()
	w.Refuses(other, 101, stateDir+"c1", "n/c1/eth0")
	// And a DEL of the one that was refused does not touch it.
	other.Verb = "DEL"
	w.Must(other)
	w.called("")
	w.keeps("c1")
	// When it is gone, what it has left is taken away first.
	w.Run(`umount "$POD"`)
	other.Verb, other.Netns = "ADD", w.Pod+"2"
	w.NewPod(other.Netns)
	w.Must(other)
	w.called("DEL c1 eth0 , ADD c1 eth0 POD2")
	if name := w.given("DEL")["name"]; name != "n" {
		t.Errorf("DEL was for %v", name)
	}
}

// TestCheck is the other plugin's, and flannel's own for what it keeps.
func TestCheck(t *testing.T) {
	w := newWorld(t)
	result := w.Must(w.flannel("ADD", network(""))).Stdout
	check := w.flannel("CHECK", network(prev(result)))
	w.Must(check)
	says := func(code uint, words ...string) {
		t.Helper()
		a := w.Call(check)
		if a.Code != code {
			t.Errorf("%d %s", a.Code, a.Msg)
		}
		for _, word := range words {
			if !strings.Contains(a.Msg, word) {
				t.Errorf("it does not say %s: %s", word, a.Msg)
			}
		}
	}
	w.Run("pod ip addr del 192.168.22.130/26 dev eth0")
	says(104, "addr pod eth0 192.168.22.130/26")
	w.Run("pod ip addr add 192.168.22.130/26 dev eth0; rm /var/lib/cni/networks/n/192.168.22.130")
	says(104, "host-local")
	w.Must(w.flannel("DEL", network("")))
	says(104, stateDir+"c1", "not kept")
	result = w.Must(w.flannel("ADD", network(""))).Stdout
	check = w.flannel("CHECK", network(prev(result)))
	w.Run("rm " + subnetEnv)
	w.Must(check)
	w.lease(strings.Replace(dual, "22.129", "23.129", 1))
	says(104, "192.168.22.128/26", "192.168.23.128/26")
	check.Conf = network("")
	says(7, "prevResult")
}

// TestGC takes away what is not valid any more, and asks the other plugin.
func TestGC(t *testing.T) {
	w := newWorld(t)
	add := w.flannel("ADD", network(byHomeMade))
	for _, at := range [][2]string{{"c1", "eth0"}, {"c1", "net1"}, {"c2", "eth0"}, {"c2", "net1"}} {
		add.ContainerID, add.IfName = at[0], at[1]
		w.Must(add)
	}
	add.ContainerID, add.Conf = "c3", strings.Replace(add.Conf, `"n"`, `"m"`, 1)
	w.Must(add)
	w.write(stateDir+"c4", "{torn")
	// Upstream's files say nothing of the interface.
	w.write(stateDir+"c5", `{"cniVersion":"0.3.1","name":"n","type":"home-made","upstream":true}`)
	w.write(stateDir+"c6", `{"cniVersion":"0.3.1","name":"n","type":"home-made"}`)
	w.write(stateDir+"c7", `{"cniVersion":"0.3.1","name":"m","type":"home-made"}`)
	all := w.state()
	w.calls()
	gc := func(valid string) kerneltest.Call {
		return w.flannel("GC", network(byHomeMade+`,"cni.dev/valid-attachments":`+valid))
	}
	w.Refuses(w.flannel("GC", network(byHomeMade)), 7, "valid-attachments")
	w.keeps(all)
	recovers := w.fails("DEL", `{"code":5,"msg":"disk on fire"}`)
	valid := `[{"containerID":"c1","ifname":"eth0"},{"containerID":"c2","ifname":"net1"},{"containerID":"c6","ifname":"net7"}]`
	if a := w.Call(gc(valid)); a.Code != 5 {
		t.Errorf("%d %s", a.Code, a.Msg)
	}
	w.called("DEL c1 net1 POD, DEL c2 eth0 POD, DEL c5 eth0 , GC c1 eth0 POD")
	w.keeps(all)
	recovers()
	w.Run("rm " + subnetEnv)
	w.Must(gc(valid))
	w.called("DEL c1 net1 POD, DEL c2 eth0 POD, DEL c5 eth0 , GC c1 eth0 POD")
	w.keeps("c1 c2:net1 c3:net1 c4 c6 c7")
	if w.given("DEL")["upstream"] != true {
		t.Error("c5 was not taken away with what upstream had kept")
	}
}

// TestGCRemovesLinksAndLeases of pods that nobody said DEL for.
func TestGCRemovesLinksAndLeases(t *testing.T) {
	w := newWorld(t)
	w.Must(w.flannel("ADD", network("")))
	w.Must(w.flannel("DEL", network("")))
	before := w.Text()
	w.Must(w.flannel("ADD", network("")))
	w.Must(w.flannel("GC", network(`,"cni.dev/valid-attachments":[]`)))
	w.Same("GC", before, w.Text())
}

// TestStatus says first what everybody meets first.
func TestStatus(t *testing.T) {
	w := newWorld(t)
	status := w.flannel("STATUS", network(`,"strict":true`))
	w.Must(status)
	w.Run("rm " + subnetEnv)
	a := w.Call(status)
	if a.Code != 50 || !strings.Contains(a.Msg, "flanneld has not written its lease yet") || !strings.Contains(a.Msg, subnetEnv) || !strings.Contains(a.Details, "kubectl") {
		t.Errorf("%d %s (%s)", a.Code, a.Msg, a.Details)
	}
	w.lease("FLANNEL_MTU\n")
	if a := w.Call(status); a.Code != 50 || !strings.Contains(a.Msg, "line 1") || !strings.Contains(a.Msg, "FLANNEL_SUBNET") {
		t.Errorf("%d %s", a.Code, a.Msg)
	}
	w.lease(dual)
	w.fails("STATUS", `{"code":50,"msg":"not today"}`)
	if a := w.Call(w.flannel("STATUS", network(byHomeMade))); a.Code != 50 || a.Msg != "home-made: not today" {
		t.Errorf("%d %s", a.Code, a.Msg)
	}
	if a := w.Call(w.flannel("STATUS", network(`,"dataDir":"/proc/sys/flannel"`))); a.Code != 50 || !strings.Contains(a.Msg, "/proc/sys") {
		t.Errorf("%d %s", a.Code, a.Msg)
	}
	if a := w.Call(w.flannel("STATUS", network(`,"delegate":{"type":"nowhere"}`))); a.Exit == 0 || !strings.Contains(a.Msg, `find plugin "nowhere"`) {
		t.Errorf("%d %s", a.Code, a.Msg)
	}
}

// TestKilled: the runtime's DEL after an ADD that was killed finds all of it.
func TestKilled(t *testing.T) {
	w := newWorld(t)
	w.write(w.bin+"/home-made", "#!/bin/sh\n/bin/cat > "+w.dir+"/killed\n/bin/kill -9 $PPID\n")
	w.Run(fmt.Sprintf("echo '%s' | CNI_COMMAND=ADD CNI_CONTAINERID=c1 CNI_IFNAME=eth0 CNI_NETNS=$POD CNI_PATH=%s %s/flannel; true", network(byHomeMade), w.bin, w.bin))
	w.keeps("c1")
	w.write(w.bin+"/home-made", fmt.Sprintf(homeMade, w.dir))
	w.Must(w.flannel("DEL", network(byHomeMade)))
	w.called("DEL c1 eth0 POD")
	w.keeps("")
}

// TestKept: nobody else reads it, and upstream's flannel could.
func TestKept(t *testing.T) {
	w := newWorld(t)
	w.Must(w.flannel("ADD", network(byHomeMade)))
	if out := w.Run("stat -c %a " + stateDir + " " + stateDir + "c1"); out != "700\n600\n" {
		t.Errorf("modes %q", out)
	}
	var kept map[string]any
	if err := json.Unmarshal([]byte(w.Run("cat "+stateDir+"c1")), &kept); err != nil {
		t.Fatal(err)
	}
	delete(kept, "catena")
	if given := w.given("ADD"); !reflect.DeepEqual(kept, given) {
		t.Errorf("kept is %v, and given was %v", kept, given)
	}
}

// TestUpstreamsFiles are taken for what they are: of any interface.
func TestUpstreamsFiles(t *testing.T) {
	w := newWorld(t)
	file := `{"cniVersion":"0.3.1","name":"n","type":"home-made","upstream":true}`
	for _, ifname := range []string{"eth0", "net1"} {
		w.write(stateDir+"c1", file)
		c := w.flannel("DEL", network(byHomeMade))
		c.IfName = ifname
		w.Must(c)
		w.called("DEL c1 " + ifname + " POD")
		if w.given("DEL")["upstream"] != true {
			t.Errorf("%s: %v", ifname, w.given("DEL"))
		}
		w.keeps("")
	}
	// One that another network has overwritten is that one's.
	w.write(stateDir+"c1", strings.Replace(file, `"n"`, `"m"`, 1))
	w.Must(w.flannel("DEL", network(byHomeMade)))
	if w.given("DEL")["upstream"] == true {
		t.Error("the other network's was taken")
	}
	w.keeps("c1")
	// Ours of eth0 is not net1's.
	w.Run("rm " + stateDir + "c1")
	w.Must(w.flannel("ADD", network(byHomeMade)))
	c := w.flannel("DEL", network(byHomeMade))
	c.IfName = "net1"
	w.Must(c)
	w.keeps("c1")
}

// TestPeople see what the other plugin would do.
func TestPeople(t *testing.T) {
	w := newWorld(t)
	w.write(w.dir+"/conf", network(""))
	before := w.Text()
	env := "CNI_PATH=" + w.bin + " CNI_CONTAINERID=c1 CNI_NETNS=" + w.Pod + " CNI_IFNAME=eth0 "
	plan := w.Run(env + w.bin + "/flannel plan < " + w.dir + "/conf")
	for _, word := range []string{"keep " + stateDir + "c1", `"mtu": 1450`, "link host bridge cni0", "addr pod eth0 192.168.22.130/26"} {
		if !strings.Contains(plan, word) {
			t.Errorf("the plan lacks %q:\n%s", word, plan)
		}
	}
	if result := w.Run(env + w.bin + "/flannel result < " + w.dir + "/conf"); !strings.Contains(result, "192.168.22.130/26") {
		t.Error(result)
	}
	w.write(w.dir+"/conf", network(byHomeMade))
	if plan := w.Run(env + w.bin + "/flannel plan < " + w.dir + "/conf"); !strings.Contains(plan, "home-made") {
		t.Error(plan)
	}
	w.Same("plan and result", before, w.Text())
	w.Run("rm " + subnetEnv)
	if out, err := w.Try(env + w.bin + "/flannel plan < " + w.dir + "/conf"); err == nil || !strings.Contains(out, "kubectl") {
		t.Errorf("%v %s", err, out)
	}
}

func TestBadInput(t *testing.T) {
	kerneltest.Refusals{
		Plugins: []string{"plugins/meta/flannel", "plugins/main/bridge", "plugins/ipam/host-local"},
		Conf:    kerneltest.Minimal("flannel"),
		Setup:   "mkdir /run/flannel; printf '" + strings.ReplaceAll(classic, "\n", `\n`) + "' > " + subnetEnv,
		Rows: []kerneltest.Refusal{
			{Name: "no lease", Setup: "rm " + subnetEnv, Code: 11, Words: "flanneld has not written its lease yet|" + subnetEnv},
			{Name: "no lease elsewhere", Conf: `,"subnetFile":"/run/else"`, Code: 11, Words: "/run/else"},
			{Name: "torn lease", Setup: "echo FLANNEL_SUBNET > " + subnetEnv, Code: 11, Words: "line 1|FLANNEL_MTU is missing"},
			{Name: "a folder for a lease", Conf: `,"subnetFile":"/run"`, Code: 11, Words: "/run is no file"},
			{Name: "subnetFile", Conf: `,"subnetFile":"x"`, Code: 7, Words: `subnetFile is "x"`},
			{Name: "dataDir", Conf: `,"dataDir":"../x"`, Code: 7, Words: `dataDir is "../x"`},
			{Name: "dataDir that takes no files", Conf: `,"dataDir":"/proc/sys/x"`, Code: 102, Words: "/proc/sys/x"},
			{Name: "delegate", Conf: `,"delegate":"bridge"`, Code: 6, Words: "delegate is to be an object"},
			{Name: "delegate's name", Conf: `,"delegate":{"Name":"x"}`, Code: 7, Words: "delegate.name"},
			{Name: "delegate's ipam", Conf: `,"delegate":{"ipam":{}}`, Code: 7, Words: "delegate.ipam"},
			{Name: "delegate's type", Conf: `,"delegate":{"type":7}`, Code: 7, Words: "delegate.type is 7"},
			{Name: "itself", Conf: `,"delegate":{"type":"flannel"}`, Code: 7, Words: "without end"},
			{Name: "a path", Conf: `,"delegate":{"type":"../bridge"}`, Code: 7, Words: "no name of a plugin"},
			{Name: "nowhere", Conf: `,"delegate":{"type":"nowhere"}`, Code: 102, Words: `find plugin "nowhere"`},
			{Name: "ipam", Conf: `,"ipam":[]`, Code: 6, Words: "ipam"},
			{Name: "ipam's type", Conf: `,"ipam":{"type":7}`, Code: 6, Words: "ipam"},
			{Name: "routes", Conf: `,"ipam":{"routes":{}}`, Code: 7, Words: "ipam.routes is {}"},
			{Name: "a route", Conf: `,"ipam":{"routes":[{"dst":"10.0.0.0"}]}`, Code: 7, Words: "ipam.routes[0].dst"},
			{Name: "unknown key", Conf: `,"strict":true,"subnetfile":"/run/flannel/subnet.env","delgate":{}`, Code: 2, Words: "delgate|delegate"},
			{Name: "the bridge's own", Conf: `,"delegate":{"vlan":9999}`, Code: 7, Words: "bridge: |vlan is 9999"},
			{Name: "arguments", Args: "FOO=1", Code: 4, Words: "bridge: |FOO"},
			{Name: "broken prevResult", Conf: `,"prevResult":{"ips":7}`, Code: 6, Words: "prevResult"},
			{Name: "no name", Conf: `,"name":""`, Code: 7, Words: "name"},
		},
	}.Run(t)
}
