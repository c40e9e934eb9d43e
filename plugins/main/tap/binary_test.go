package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestBadInput: a clear error, and nothing has changed.
func TestBadInput(t *testing.T) {
	for _, row := range []struct {
		name, keys string
		args       string
		setup      string
		code       uint
		words      string // separated by bars
	}{
		{name: "wrong type", keys: `,"multiQueue":"yes"`, code: 6, words: "multiQueue|true or false"},
		{name: "owner by name", keys: `,"owner":"qemu"`, code: 6, words: "owner|whole number"},
		{name: "negative owner", keys: `,"owner":-1`, code: 6, words: "owner|whole number"},
		{name: "owner out of range", keys: `,"owner":4294967295`, code: 7, words: "owner is 4294967295"},
		{name: "group out of range", keys: `,"group":4294967295`, code: 7, words: "group is 4294967295"},
		{name: "small mtu", keys: `,"mtu":67`, code: 7, words: "mtu is 67|68"},
		{name: "large mtu", keys: `,"mtu":65522`, code: 7, words: "mtu is 65522"},
		{name: "no mac", keys: `,"mac":"zz"`, code: 7, words: `mac is "zz"`},
		{name: "a group's mac", keys: `,"runtimeConfig":{"mac":"01:00:5e:00:00:01"}`, code: 7, words: "unicast"},
		{name: "a mac of eight bytes", args: "MAC=02:00:00:00:00:00:00:01", code: 7, words: "six bytes"},
		{name: "unknown argument", args: "FOO=1", code: 4, words: "FOO"},
		{name: "no label", keys: `,"selinuxContext":"container_t"`, code: 7, words: "selinuxContext|user:role:type"},
		{name: "two lines of label", keys: `,"selinuxContext":"a:b:c\nd"`, code: 7, words: "selinuxContext"},
		{name: "bridge's name a path", keys: `,"bridge":"../br"`, code: 7, words: "bridge|no interface name"},
		{name: "bridge is the device", keys: `,"bridge":"eth0"`, code: 7, words: "the device itself"},
		{name: "no bridge", keys: `,"bridge":"br0"`, code: 102, words: "bridge in the pod|br0"},
		{name: "bridge is none", keys: `,"bridge":"br0"`, setup: "pod ip link add br0 type veth peer name x", code: 100, words: "br0 is a veth"},
		{name: "bridge on the host", keys: `,"bridge":"br0"`, setup: "ip link add br0 type bridge", code: 102, words: "bridge in the pod"},
		{name: "interface exists", setup: "pod ip link add eth0 type veth peer name x", code: 101, words: "eth0|already"},
		{name: "tap exists", setup: "pod ip tuntap add mode tap name eth0", code: 101, words: "eth0|already"},
		{name: "no device node", setup: "mount -t tmpfs t /dev/net", code: 102, words: "/dev/net/tun|CONFIG_TUN"},
		{name: "no IPAM plugin", keys: `,"ipam":{"type":"nowhere"}`, code: 102, words: `find plugin "nowhere"`},
		{name: "unknown key, strict", keys: `,"strict":true,"multiqeue":true`, code: 2, words: "did you mean multiQueue"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			bin := kerneltest.Build(t, "plugins/main/tap")
			s := kerneltest.New(t)
			if row.setup != "" {
				s.Run(row.setup)
			}
			conf := `{"cniVersion":"1.0.0","name":"n","type":"tap"` + row.keys + `}`
			s.Refuses(kerneltest.Call{Bin: bin, Plugin: "tap", Conf: conf, Args: row.args}, row.code, strings.Split(row.words, "|")...)
		})
	}
}

// TestVerbs runs the binary through a pod's life, with a label that does nothing
// here, and with an IPAM that fails.
func TestVerbs(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	if err := os.Symlink(filepath.Join(kerneltest.Build(t, "plugins/main/tap"), "tap"), filepath.Join(bin, "tap")); err != nil {
		t.Fatal(err)
	}
	ipam := func(script string) {
		if err := os.WriteFile(filepath.Join(bin, "home-made"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := kerneltest.New(t)
	before := s.Text()
	conf := func(more string) string {
		return fmt.Sprintf(`{"cniVersion":"1.1.0","name":"n","type":"tap","mtu":1400,"owner":1000,"group":1000,"selinuxContext":"u:r:t:s0","ipam":{"type":"home-made"}%s}`, more)
	}
	call := func(verb, more string) kerneltest.Call {
		return kerneltest.Call{Bin: bin, Plugin: "tap", Verb: verb, Conf: conf(more), Args: "MAC=02:00:00:00:00:05"}
	}
	ipam(`[ "$CNI_COMMAND" = ADD ] && echo '{"code":11,"msg":"come back later"}' && exit 1; exit 0`)
	s.Refuses(call("ADD", ""), 11, "come back later")
	ipam(`[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0","ips":[{"address":"10.1.2.3/24"}],"routes":[{"dst":"10.9.0.0/16","gw":"10.1.2.1","scope":254}]}'; exit 0`)
	s.Refuses(call("ADD", ""), 100, "route pod 10.9.0.0/16")
	ipam(`[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0","ips":[{"address":"10.1.2.3/24","gateway":"10.1.2.1"}]}'; exit 0`)
	s.Must(call("STATUS", ""))
	out := s.Must(call("ADD", "")).Stdout
	var r struct {
		Interfaces []struct {
			Name, Mac, Sandbox string
			Mtu                int
		}
		IPs []struct{ Interface *int }
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Interfaces) != 1 || r.Interfaces[0].Mac != "02:00:00:00:00:05" || r.Interfaces[0].Mtu != 1400 || r.Interfaces[0].Sandbox != s.Pod || r.IPs[0].Interface == nil {
		t.Errorf("%s", out)
	}
	s.Must(call("CHECK", `,"prevResult":`+out))
	s.Refuses(call("ADD", ""), 101, "eth0")
	for range 2 {
		s.Must(call("DEL", `,"prevResult":`+out))
	}
	s.Same("DEL", before, s.Text())
	s.Must(call("ADD", ""))
	s.Must(call("GC", `,"cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}]`))
	s.Must(call("CHECK", `,"prevResult":`+out))
	gone := call("DEL", "")
	gone.Netns = "/nowhere"
	s.Must(gone)
	s.Must(call("DEL", ""))
	s.Same("DEL", before, s.Text())
}
