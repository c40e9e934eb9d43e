package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestBadInput: a clear error, and nothing has changed.
func TestBadInput(t *testing.T) {
	kerneltest.Needs(t, "tun")
	kerneltest.Refusals{
		Plugins: []string{"plugins/main/tap", "plugins/ipam/static"},
		Conf:    kerneltest.Minimal("tap"),
		Rows: []kerneltest.Refusal{
			{Name: "wrong type", Conf: `,"multiQueue":"yes"`, Code: 6, Words: "multiQueue|true or false"},
			{Name: "owner by name", Conf: `,"owner":"qemu"`, Code: 6, Words: "owner|whole number"},
			{Name: "negative owner", Conf: `,"owner":-1`, Code: 6, Words: "owner|whole number"},
			{Name: "owner out of range", Conf: `,"owner":4294967295`, Code: 7, Words: "owner is 4294967295"},
			{Name: "group out of range", Conf: `,"group":4294967295`, Code: 7, Words: "group is 4294967295"},
			{Name: "small mtu", Conf: `,"mtu":67`, Code: 7, Words: "mtu is 67|68"},
			{Name: "mtu too small for IPv6", Conf: `,"mtu":1200,"ipam":{"type":"static","addresses":[{"address":"fd00:1:2::2/64","gateway":"fd00:1:2::1"}]}`, Code: 7, Words: "mtu is 1200|1280"},
			{Name: "large mtu", Conf: `,"mtu":65522`, Code: 7, Words: "mtu is 65522"},
			{Name: "no mac", Conf: `,"mac":"zz"`, Code: 7, Words: `mac is "zz"`},
			{Name: "a group's mac", Conf: `,"runtimeConfig":{"mac":"01:00:5e:00:00:01"}`, Code: 7, Words: "unicast"},
			{Name: "a mac of eight bytes", Args: "MAC=02:00:00:00:00:00:00:01", Code: 7, Words: "six bytes"},
			{Name: "unknown argument", Args: "FOO=1", Code: 4, Words: "FOO"},
			{Name: "no label", Conf: `,"selinuxContext":"container_t"`, Code: 7, Words: "selinuxContext|user:role:type"},
			{Name: "two lines of label", Conf: `,"selinuxContext":"a:b:c\nd"`, Code: 7, Words: "selinuxContext"},
			{Name: "bridge's name a path", Conf: `,"bridge":"../br"`, Code: 7, Words: "bridge|1 to 15 bytes"},
			{Name: "bridge is the device", Conf: `,"bridge":"eth0"`, Code: 7, Words: "the device itself"},
			{Name: "no bridge", Conf: `,"bridge":"br0"`, Code: 102, Words: "bridge in the pod|br0"},
			{Name: "bridge is none", Conf: `,"bridge":"br0"`, Setup: "pod ip link add br0 type veth peer name x", Code: 100, Words: "br0 is a veth"},
			{Name: "bridge on the host", Conf: `,"bridge":"br0"`, Setup: "ip link add br0 type bridge", Code: 102, Words: "bridge in the pod"},
			{Name: "interface exists", Setup: "pod ip link add eth0 type veth peer name x", Code: 101, Words: "eth0|already"},
			{Name: "tap exists", Setup: "pod ip tuntap add mode tap name eth0", Code: 101, Words: "eth0|already"},
			{Name: "no device node", Setup: "mount -t tmpfs t /dev/net", Code: 102, Words: "/dev/net/tun|CONFIG_TUN"},
			{Name: "no IPAM plugin", Conf: `,"ipam":{"type":"nowhere"}`, Code: 102, Words: `find plugin "nowhere"`},
			{Name: "unknown key, strict", Conf: `,"strict":true,"multiqeue":true`, Code: 2, Words: "did you mean multiQueue"},
		},
	}.Run(t)
}

// TestVerbs runs the binary through a pod's life, with a label that does nothing
// here, and with an IPAM that fails.
func TestVerbs(t *testing.T) {
	kerneltest.NeedsRoot(t, anotherUser)
	kerneltest.Needs(t, "tun")
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
	r, err := cni.ParseResult("x", []byte(out), "1.1.0")
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Interfaces) != 1 || r.Interfaces[0].Mac != "02:00:00:00:00:05" || r.Interfaces[0].Mtu != 1400 || r.Interfaces[0].Sandbox != s.Pod || r.IPs[0].Interface == nil {
		t.Errorf("%s", out)
	}
	s.Must(call("CHECK", `,"prevResult":`+out))
	s.Finished("n", "c1")
	s.Refuses(call("ADD", ""), 101, "eth0")
	s.Run("rm -r /var/lib/cni/results")
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
