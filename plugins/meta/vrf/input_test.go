package main

import (
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

const (
	head = `{"cniVersion":"1.1.0","name":"n","type":"vrf"`
	prev = "," + kerneltest.TwoNetworksPrev
	blue = prev + `,"vrfname":"blue"`
)

// TestBadInput: a clear error, and nothing has changed.
func TestBadInput(t *testing.T) {
	kerneltest.Refusals{
		Plugins: []string{"plugins/meta/vrf"},
		Conf:    func(row string) string { return head + row + `}` },
		Setup:   kerneltest.TwoNetworks,
		Rows: []kerneltest.Refusal{
			{Name: "no prevResult", Conf: `,"vrfname":"blue"`, Code: 7, Words: "prevResult|chain"},
			{Name: "no vrfname", Conf: prev, Code: 7, Words: "vrfname is missing"},
			{Name: "vrfname too long", Conf: prev + `,"vrfname":"abcdefghijklmnop"`, Code: 7, Words: "abcdefghijklmnop|1 to 15 bytes"},
			{Name: "vrfname a path", Conf: prev + `,"vrfname":"../x"`, Code: 7, Words: "../x"},
			{Name: "vrfname the interface's", Conf: prev + `,"vrfname":"eth0"`, Code: 7, Words: "eth0|own name"},
			{Name: "vrfname a number", Conf: prev + `,"vrfname":7`, Code: 6, Words: "vrfname|string"},
			{Name: "vrfname of another link", Conf: prev + `,"vrfname":"mgmt0"`, Code: 100, Words: "mgmt0 is a veth, not a vrf"},
			{Name: "the main table", Conf: blue + `,"table":254`, Code: 7, Words: "table is 254|main"},
			{Name: "table negative", Conf: blue + `,"table":-1`, Code: 6, Words: "table"},
			{Name: "table too large", Conf: blue + `,"table":4294967296`, Code: 6, Words: "table"},
			{Name: "table a string", Conf: blue + `,"table":"10"`, Code: 6, Words: "table|whole number"},
			{Name: "no interface", Conf: blue, Setup: "ip link del heth0", Code: 102, Words: "eth0"},
			{Name: "no namespace", Conf: blue, Netns: "/run/netns/none", Code: 102, Words: "/run/netns/none"},
			{Name: "a bridge's port", Conf: blue, Setup: "pod ip link add br0 type bridge; pod ip link set eth0 master br0", Code: 101, Words: "eth0 belongs to br0 (a bridge)"},
			{Name: "unknown key, strict", Conf: blue + `,"strict":true,"vrfnam":"x"`, Code: 2, Words: "did you mean vrfname"},
			{Name: "CHECK before ADD", Verb: "CHECK", Conf: blue, Code: 104, Words: "link pod eth0 in vrf blue"},
			{Name: "CHECK without prevResult", Verb: "CHECK", Conf: `,"vrfname":"blue"`, Code: 7, Words: "prevResult"},
			{Name: "another table", Conf: blue + `,"table":20`, Needs: []string{"vrf"}, Setup: "pod ip link add blue type vrf table 10; pod ip link set blue up", Code: 100, Words: "blue is there with table 10, not 20"},
		},
	}.Run(t)
}

// TestKernel: what the kernel lacks STATUS says, and ADD; neither leaves a
// trace.
func TestKernel(t *testing.T) {
	t.Parallel()
	bin := kerneltest.Build(t, "plugins/meta/vrf")
	s := kerneltest.New(t)
	s.Run(kerneltest.TwoNetworks)
	before := s.Text()
	_, lacks := s.Try("unshare -n ip link add probe0 type vrf table 10")
	status := s.Call(kerneltest.Call{Bin: bin, Plugin: "vrf", Verb: "STATUS", Conf: head + `,"vrfname":"blue"}`})
	s.Same("STATUS", before, s.Text())
	if lacks == nil {
		if status.Exit != 0 {
			t.Errorf("STATUS: %s", status.Msg)
		}
		return
	}
	if status.Code != 50 || !strings.Contains(status.Msg, "CONFIG_NET_VRF") {
		t.Errorf("STATUS: %d %s", status.Code, status.Msg)
	}
	s.Refuses(kerneltest.Call{Bin: bin, Plugin: "vrf", Conf: head + blue + `}`}, 100, "CONFIG_NET_VRF")
	s.Must(kerneltest.Call{Bin: bin, Plugin: "vrf", Verb: "DEL", Conf: head + blue + `}`})
	s.Same("DEL", before, s.Text())
}
