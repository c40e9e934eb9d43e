package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plugintest"
)

// start makes a bus and a firewalld of the sandbox's own, and prints their
// numbers. It listens on the bus for firewalld's name, from when it hears
// anything there.
const start = `
	mount -t tmpfs tmpfs /var/log
	mkdir /run/dbus
	dbus-daemon --system --nopidfile --fork --print-pid
	mkfifo /run/heard
	timeout 600 dbus-monitor --system "type='signal',member='NameOwnerChanged',arg0='org.fedoraproject.FirewallD1'" > /run/heard 2> /dev/null &
	monitor=$!
	exec 3< /run/heard
	read -r first <&3
	firewalld --nofork --nopid > /var/log/firewalld.out 2>&1 &
	echo $!
	grep -q -m1 'string "org.fedoraproject.FirewallD1"' <&3
	kill $monitor`

// ownBus changes its user.
const ownBus = "a bus of its own"

// startFirewalld starts one for the test, and gives the numbers of the bus and of
// firewalld.
func startFirewalld(t *testing.T, s *kerneltest.Sandbox) (pids []string) {
	t.Helper()
	pids = strings.Fields(s.Run(start))
	t.Cleanup(func() {
		if said, _ := s.Try("cat /var/log/firewalld*"); t.Failed() {
			t.Logf("firewalld said:\n%s", said)
		}
		_, _ = s.Try("kill " + strings.Join(pids, " "))
	})
	s.Run(say("zone.getSources string:trusted")) // is answered when its rules are there
	return pids
}

// say calls a method of firewalld, without the second that its own program takes.
func say(method string) string {
	return "dbus-send --system --print-reply=literal --reply-timeout=600000 --dest=org.fedoraproject.FirewallD1 /org/fedoraproject/FirewallD1 org.fedoraproject.FirewallD1." + method
}

// bound lists what the zone has.
func bound(s *kerneltest.Sandbox, zone string) string {
	list := strings.Fields(strings.NewReplacer("array [", "", "]", "").Replace(s.Run(say("zone.getSources string:" + zone))))
	slices.Sort(list)
	return fmt.Sprint(list)
}

func TestLawsOfFirewalld(t *testing.T) {
	kerneltest.NeedsTime(t)
	kerneltest.NeedsRoot(t, ownBus)
	c := Conf{Backend: text("firewalld")}
	kerneltest.Prove(t, kerneltest.Case{
		Plan:  plugintest.PlanAt(t, firewall, attachment("c1", dual...), c),
		Other: plugintest.PlanAt(t, firewall, attachment("c0", "10.1.2.9/24"), c),
		Setup: func(s *kerneltest.Sandbox) { s.Run(bridged); startFirewalld(t, s) },
		Look:  say("zone.getSources string:trusted"),
		Undo: []kerneltest.Undo{
			{Fact: `^firewalld source`, Command: say("zone.removeSource string:trusted string:fd00:1:2::3/128")},
		},
	})
}

// TestFirewalld goes through the life of several pods beside a real firewalld.
func TestFirewalld(t *testing.T) {
	kerneltest.NeedsTime(t)
	kerneltest.NeedsRoot(t, ownBus)
	bin := kerneltest.Build(t, "plugins/meta/firewall")
	s := kerneltest.New(t)
	s.Run(bridged)
	pids := startFirewalld(t, s)
	s.NewPod(s.Pod + "2")
	call := func(verb, id, address, more string) kerneltest.Call {
		c := kerneltest.Call{Bin: bin, Plugin: "firewall", Verb: verb, ContainerID: id, Conf: fmt.Sprintf(`{"cniVersion":"1.1.0","name":"n","type":"firewall","backend":"firewalld"%s,
			"prevResult":{"cniVersion":"1.1.0","interfaces":[{"name":"br0"},{"name":"eth0","sandbox":"/x"}],"ips":[{"address":"%s","interface":1}]}}`, more, address)}
		if id == "c2" {
			c.Netns = s.Pod + "2"
		}
		return c
	}
	want := func(what, zone, list string) {
		t.Helper()
		if got := bound(s, zone); got != list {
			t.Errorf("%s: zone %s has %s, and not %s", what, zone, got, list)
		}
	}
	s.Must(call("STATUS", "", "10.1.2.3/24", ""))
	s.Must(call("ADD", "c1", "10.1.2.3/24", ""))
	s.Must(call("ADD", "c2", "10.1.2.3/24", ""))
	want("one address twice", "trusted", "[10.1.2.3/32]")
	for _, zone := range []string{"internal", "trusted"} { // of two ADDs the last one counts
		s.Must(call("ADD", "c3", "10.1.2.9/24", `,"firewalldZone":"`+zone+`"`))
		want("a second ADD", zone, map[string]string{"internal": "[10.1.2.9/32]", "trusted": "[10.1.2.3/32 10.1.2.9/32]"}[zone])
	}
	want("the zone before", "internal", "[]")
	s.Must(call("DEL", "c3", "10.1.2.9/24", ""))
	s.Must(call("DEL", "c1", "10.1.2.3/24", ""))
	want("DEL of the first", "trusted", "[10.1.2.3/32]")
	s.Must(call("CHECK", "c2", "10.1.2.3/24", ""))
	s.Must(call("ADD", "c1", "fd00::3/64", `,"firewalldZone":"internal"`))
	want("another zone", "internal", "[fd00::3/128]")
	s.Refuses(call("ADD", "c3", "fd00::3/64", ""), 100, "ZONE_CONFLICT", "fd00::3/128")
	s.Refuses(call("ADD", "c3", "10.1.2.4/24", `,"firewalldZone":"nowhere"`), 7, `firewalld has no zone "nowhere"`)
	a := s.Call(call("STATUS", "", "10.1.2.3/24", `,"firewalldZone":"nowhere"`))
	if a.Exit == 0 || !strings.Contains(a.Msg, "nowhere") {
		t.Errorf("STATUS of a zone that is not there: %v", a)
	}

	s.Run(say("reload"))
	want("reload", "trusted", "[]")
	if a := s.Call(call("CHECK", "c2", "10.1.2.3/24", "")); a.Code != 104 || !strings.Contains(a.Msg, "10.1.2.3/32 is not in the zone trusted") {
		t.Errorf("CHECK after a reload: %d %s", a.Code, a.Msg)
	}
	s.Must(call("ADD", "c3", "10.1.2.5/24", ""))
	want("ADD after a reload", "trusted", "[10.1.2.3/32 10.1.2.5/32]")
	s.Must(call("CHECK", "c2", "10.1.2.3/24", ""))
	s.Run(say("reload"))
	s.Must(call("DEL", "c3", "10.1.2.5/24", ""))
	want("DEL after a reload", "trusted", "[10.1.2.3/32]")
	s.Run(say("reload"))
	s.Must(call("GC", "", "10.1.2.3/24", `,"cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"},{"containerID":"c2","ifname":"eth0"}]`))
	want("GC after a reload", "trusted", "[10.1.2.3/32]")
	s.Must(call("GC", "", "10.1.2.3/24", `,"firewalldZone":"internal","cni.dev/valid-attachments":[{"containerID":"c2","ifname":"eth0"}]`))
	want("GC of a dead one", "internal", "[]")

	// The configured backend has changed since ADD.
	s.Must(kerneltest.Call{Bin: bin, Plugin: "firewall", Verb: "DEL", ContainerID: "c2", Conf: `{"cniVersion":"1.1.0","name":"n","type":"firewall"}`})
	want("DEL with another backend", "trusted", "[]")

	// firewalld goes: DEL is done with it, and ADD says so.
	s.Must(call("ADD", "c1", "10.1.2.3/24", ""))
	s.Run("kill " + pids[1] + "; timeout 600 tail --pid=" + pids[1] + " -f /dev/null")
	pids[1] = "" // the number may be another program's by the end of the test
	s.Must(call("DEL", "c1", "10.1.2.3/24", ""))
	a = s.Call(call("ADD", "c1", "10.1.2.3/24", ""))
	if a.Exit == 0 || !strings.Contains(a.Msg, "firewalld does not run") || !strings.Contains(a.Details, "systemctl start firewalld") {
		t.Errorf("ADD without firewalld: %+v", a)
	}
	if text := s.Run("find /run/catena/firewalld -type f"); text != "" {
		t.Errorf("files are left: %s", text)
	}
}

// TestBesideFirewalld: with the default backend too the pods are let through a
// firewalld that rejects what it forwards, and again after it was reloaded.
func TestBesideFirewalld(t *testing.T) {
	kerneltest.NeedsTime(t)
	kerneltest.NeedsRoot(t, ownBus)
	s := kerneltest.New(t)
	s.Run(bridged)
	startFirewalld(t, s)
	p := plugintest.PlanAt(t, firewall, attachment("c1", dual...), Conf{})
	again := plugintest.PlanAt(t, firewall, attachment("c2", "10.1.2.4/24"), Conf{})
	opened := func(what string, want bool) {
		t.Helper()
		chain := s.Run("nft list chain inet firewalld filter_FORWARD")
		ours, theirs := strings.Index(chain, "catena: pods"), strings.Index(chain, "jump filter_FORWARD_ZONES")
		if want != (ours >= 0 && ours < theirs) {
			t.Errorf("%s: our rule is to come before the zones' (%t):\n%s", what, want, chain)
		}
	}
	if err := p.Add(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	opened("ADD", true)
	s.Run(say("reload"))
	opened("reload", false)
	if err := p.Check(s.Kernel()); err != nil {
		t.Error(err)
	}
	opened("CHECK", true)
	s.Run(say("reload"))
	if err := again.Add(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	opened("another ADD", true)
	s.Run(say("reload"))
	if err := again.Del(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	opened("DEL", true)
}
