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
		{"no master", `,"vlanId":5`, "", nil, 7, "vlan needs a master"},
		{"no master there", `,"master":"nowhere","vlanId":5`, "", nil, 102, "nowhere"},
		{"a master in the pod that is not", `,"master":"up0","vlanId":5,"linkInContainer":true`, "", nil, 102, "up0"},
		{"wrong type", `,"master":"up0","vlanId":"5"`, "", nil, 6, "vlanId|whole number"},
		{"id too large", `,"master":"up0","vlanId":4095`, "", nil, 7, "vlanId is 4095|0 to 4094"},
		{"negative id", `,"master":"up0","vlanId":-1`, "", nil, 7, "vlanId is -1"},
		{"mtu above the master's", `,"master":"up0","vlanId":5,"mtu":9000`, "", nil, 100, "9000|1500|up0"},
		{"negative mtu", `,"master":"up0","vlanId":5,"mtu":-1`, "", nil, 7, "mtu is -1"},
		{"unknown policy", `,"master":"up0","dad":"maybe"`, "", nil, 7, "dad|optimistic"},
		{"interface exists", `,"master":"up0","vlanId":5`, "pod ip link add eth0 type veth peer name x", nil, 101, "eth0"},
		{"unknown key, strict", `,"master":"up0","vlanID":5,"strict":true,"mastr":"x"`, "", nil, 2, "did you mean master"},
		{"VLAN is somebody's", `,"master":"up0","vlanId":5`, "ip link add link up0 name up0.5 type vlan id 5", []string{"vlan"}, 101, "vlan 5|up0 has a link for this VLAN"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			kerneltest.Needs(t, row.needs...)
			bin := kerneltest.Build(t, "plugins/main/vlan")
			s := kerneltest.New(t)
			s.Run("ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up")
			if row.setup != "" {
				s.Run(row.setup)
			}
			s.Refuses(kerneltest.Call{Bin: bin, Plugin: "vlan", Conf: `{"cniVersion":"1.0.0","name":"n","type":"vlan"` + row.more + `}`}, row.code, strings.Split(row.words, "|")...)
		})
	}
}
