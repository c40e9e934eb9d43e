package main

import (
	"encoding/json"
	"fmt"
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
	w.Must(w.flannel("GC", network(byHomeMade)))
	w.called("GC c1 eth0 POD")
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
