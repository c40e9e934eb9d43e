package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

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
// gone, torn, or of another time. A torn one is set aside.
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
			w.Run("rm -f " + stateDir + ".damaged-c1")
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
	// Namespaces of another boot can have the same numbers.
	w.Run("sed -i 's/\"boot\":\"[^\"]*/&x/' " + stateDir + "c1")
	w.calls()
	w.fails("ADD", `{"code":100,"msg":"half made"}`)
	w.Call(again)
	w.called("ADD c1 eth0 POD2, DEL c1 eth0 POD2")
	w.keeps("")
}

// TestOtherAttachments: networks and interfaces of a container are kept apart.
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
