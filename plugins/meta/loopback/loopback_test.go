package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plugintest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

func TestLaws(t *testing.T) {
	kerneltest.Prove(t, kerneltest.Case{
		// The kernel leaves 127.0.0.1 on an interface that goes down again.
		Plan: want(plugintest.At("c1"), Conf{}), Other: want(plugintest.At("c0"), Conf{}), Again: true,
		Undo: []kerneltest.Undo{
			{Fact: "^up", Command: "pod ip link set lo down"},
			{Fact: "^addr pod lo 127", Command: "pod ip addr del 127.0.0.1/8 dev lo"},
			{Fact: "^addr pod lo ::1", Command: "pod ip addr del ::1/128 dev lo"},
		},
	})
}

// TestForms: no name, no version, an address of somebody else's on lo, IPv6 off.
func TestForms(t *testing.T) {
	for _, row := range []struct{ name, conf, setup string }{
		{"nothing but a type", `{"type":"loopback"}`, "true"},
		{"no name", `{"cniVersion":"0.2.0","type":"loopback"}`, "true"},
		{"the oldest form", `{"cniVersion":"0.2.0","name":"lo","type":"loopback"}`, "true"},
		{"the newest form", `{"cniVersion":"1.1.0","name":"lo","type":"loopback"}`, "true"},
		{"another address", `{"cniVersion":"1.0.0","name":"lo","type":"loopback"}`, "pod ip addr add 10.9.9.9/32 dev lo"},
		{"no IPv6", `{"cniVersion":"1.0.0","name":"lo","type":"loopback"}`, "pod sysctl -q net.ipv6.conf.lo.disable_ipv6=1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			bin := kerneltest.Build(t, "plugins/meta/loopback")
			s := kerneltest.New(t)
			s.Run(row.setup)
			call := kerneltest.Call{Bin: bin, Plugin: "loopback", IfName: "eth7", Conf: row.conf}
			out := s.Must(call).Stdout
			if !strings.Contains(out, "127.0.0.1/8") || !json.Valid([]byte(out)) {
				t.Errorf("%s", out)
			}
			if six := strings.Contains(out, "::1/128"); six == (row.name == "no IPv6") {
				t.Errorf("::1 is in the result: %t", six)
			}
			s.Run("pod ping -c 1 -W 60 127.0.0.1")
			call.Verb = "DEL"
			s.Must(call)
			s.Must(call)
			call.Netns = "/nowhere"
			s.Must(call)
		})
	}
}

// TestPrevResult is printed as it was.
func TestPrevResult(t *testing.T) {
	t.Parallel()
	bin := kerneltest.Build(t, "plugins/meta/loopback")
	s := kerneltest.New(t)
	out := s.Must(kerneltest.Call{Bin: bin, Plugin: "loopback", Conf: `{"cniVersion":"1.0.0","name":"n","type":"loopback","prevResult":{"cniVersion":"1.0.0","ips":[{"address":"10.1.2.3/24"}]}}`}).Stdout
	if strings.Contains(out, "127.0.0.1") || !strings.Contains(out, "10.1.2.3/24") {
		t.Errorf("%s", out)
	}
}

// TestNothingOfTheHost: STATUS is well, and GC finds nothing to take away, also where no attachment is valid: lo is the
// pod's own.
func TestNothingOfTheHost(t *testing.T) {
	t.Parallel()
	bin := kerneltest.Build(t, "plugins/meta/loopback")
	s := kerneltest.New(t)
	call := kerneltest.Call{Bin: bin, Plugin: "loopback", Conf: `{"cniVersion":"1.1.0","name":"lo","type":"loopback","cni.dev/valid-attachments":[]}`}
	call.Verb = "STATUS"
	s.Must(call)
	call.Verb = "ADD"
	s.Must(call)
	before := s.Text()
	for _, verb := range []string{"GC", "STATUS"} {
		call.Verb = verb
		s.Must(call)
		s.Same(verb, before, s.Text())
	}
}

func TestBadInput(t *testing.T) {
	kerneltest.Refusals{
		Plugins: []string{"plugins/meta/loopback"},
		Rows: []kerneltest.Refusal{
			{Name: "bad JSON", Conf: `{`, Code: 6, Words: "line 1"},
			{Name: "wrong type", Conf: `{"cniVersion":7}`, Code: 6, Words: "cniVersion"},
			{Name: "unknown version", Conf: `{"cniVersion":"7.0.0"}`, Code: 1, Words: "7.0.0"},
			{Name: "unknown key", Conf: `{"cniVersion":"1.0.0","strict":true,"mtu":5}`, Code: 2, Words: "mtu"},
			{Name: "interface name", Conf: `{"cniVersion":"1.0.0"}`, IfName: "../lo", Code: 4, Words: "CNI_IFNAME"},
			{Name: "broken prevResult", Conf: `{"cniVersion":"1.0.0","prevResult":{"ips":7}}`, Code: 6, Words: "prevResult"},
		},
	}.Run(t)
}

// TestOthers: what others have on lo is no error, and lo stays up for them.
func TestOthers(t *testing.T) {
	for what, setup := range map[string]string{
		"an address":   "pod ip addr add 192.0.2.1/32 dev lo",
		"an interface": "pod ip link add eth0 up type veth peer name x",
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			bin := kerneltest.Build(t, "plugins/meta/loopback")
			s := kerneltest.New(t)
			s.Run(setup)
			call := kerneltest.Call{Bin: bin, Plugin: "loopback", Conf: `{"cniVersion":"1.1.0","name":"lo","type":"loopback"}`}
			if a := s.Must(call); strings.Contains(a.Stdout, "192.0.2.1") {
				t.Error(a.Stdout)
			}
			call.Verb = "CHECK"
			s.Must(call)
			up := s.Text()
			call.Verb = "DEL"
			s.Must(call)
			s.Same("DEL", up, s.Text())
		})
	}
}

// TestForeignInterfaces: those of a result before this one are not looked at.
func TestForeignInterfaces(t *testing.T) {
	t.Parallel()
	bin := kerneltest.Build(t, "plugins/meta/loopback")
	s := kerneltest.New(t)
	out := s.Must(kerneltest.Call{Bin: bin, Plugin: "loopback", Conf: `{"cniVersion":"1.1.0","name":"lo","type":"loopback",` +
		`"prevResult":{"cniVersion":"1.1.0","interfaces":[{"name":"made-at-home"},{"name":"eth0","mac":"02:00:00:00:00:01","sandbox":"/x"}]}}`}).Stdout
	flat := strings.Join(strings.Fields(out), "")
	if !strings.Contains(flat, `{"name":"made-at-home"}`) || strings.Contains(flat, "mtu") || strings.Contains(flat, "127.0.0.1") {
		t.Error(out)
	}
}

// FuzzConf: any configuration is read well, or refused well.
func FuzzConf(f *testing.F) { plugintest.Fuzz(f, loopback) }

// TestRenamed: a pod that has renamed its loopback interface can be detached.
func TestRenamed(t *testing.T) {
	s := kerneltest.New(t)
	plan := want(plugintest.At("c1"), Conf{})
	if err := plan.Add(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	s.Run("pod ip link set lo down; pod ip link set lo name x0")
	if err := plan.Del(s.Kernel()); err != nil {
		t.Error(err)
	}
}
