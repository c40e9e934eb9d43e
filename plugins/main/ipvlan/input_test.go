package main

import (
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// TestBadInput: a clear error, and nothing has changed.
func TestBadInput(t *testing.T) {
	for _, row := range []struct {
		name, more, setup string
		needs             []string
		code              uint
		words             string // separated by bars
	}{
		{"no default route", ``, "", nil, 100, "master is not given|default route"},
		{"no master there", `,"master":"nowhere"`, "", nil, 102, "nowhere"},
		{"a master in the pod that is not", `,"master":"up0","linkInContainer":true`, "", nil, 102, "up0"},
		{"two masters behind others", `,"prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"a"},{"name":"b"}]}`, "", nil, 7, "master is not given|name it"},
		{"unknown mode", `,"master":"up0","mode":"l4"`, "", nil, 7, "mode|l3s"},
		{"wrong type", `,"master":1`, "", nil, 6, "master|string"},
		{"mtu above the master's", `,"master":"up0","mtu":9000`, "", nil, 100, "9000|1500|up0"},
		{"negative mtu", `,"master":"up0","mtu":-1`, "", nil, 7, "mtu is -1"},
		{"unknown policy", `,"master":"up0","dad":"maybe"`, "", nil, 7, "dad|optimistic"},
		{"interface exists", `,"master":"up0"`, "pod ip link add eth0 type veth peer name x", nil, 101, "eth0"},
		{"unknown key, strict", `,"master":"up0","strict":true,"moed":"l2"`, "", nil, 2, "did you mean mode"},
		{"a bridge's port", `,"master":"up0"`, "ip link add br0 type bridge; ip link set up0 master br0", []string{"ipvlan"}, 100, "up0 is a port of br0"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			kerneltest.Needs(t, row.needs...)
			bin := kerneltest.Build(t, "plugins/main/ipvlan")
			s := kerneltest.New(t)
			s.Run("ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up")
			if row.setup != "" {
				s.Run(row.setup)
			}
			s.Refuses(kerneltest.Call{Bin: bin, Plugin: "ipvlan", Conf: `{"cniVersion":"1.0.0","name":"n","type":"ipvlan"` + row.more + `}`}, row.code, strings.Split(row.words, "|")...)
		})
	}
}
