package main

import (
	"testing"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plugintest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

func TestWant(t *testing.T) {
	plugintest.Golden(t, map[string]fact.Plan{
		"device":     plugintest.Plan(t, hostDevice, "c1", Conf{Device: "up0"}, "10.1.2.3/24", "fd00:1:2::3/64"),
		"hwaddr":     plugintest.Plan(t, hostDevice, "c1", Conf{HWAddr: "02:00:00:00:00:AA", DAD: "off"}, "fd00:1:2::3/64"),
		"kernelpath": plugintest.Plan(t, hostDevice, "c1", Conf{KernelPath: "/sys/devices/virtual/"}),
	})
}

// uplink is a device of the host that has everything that a move takes away:
// an alias, an MTU, addresses, a bridge that it is a port of, being up.
const uplink = `
ip link add up0 mtu 1450 address 02:00:00:00:00:aa type veth peer name up1; ip link set up1 up
ip link set up0 up alias 'the uplink'
ip link add br0 address 02:00:00:00:00:b0 type bridge; ip link set br0 up; ip link set up0 master br0
ip addr add 192.0.2.5/24 dev up0 broadcast + label up0:one; ip addr add 192.0.2.9 peer 198.51.100.1/32 dev up0 metric 7
ip addr add 2001:db8::5/64 dev up0 nodad noprefixroute
until ip -6 route show table local | grep -q 2001:db8::5; do sleep 0.01; done`

// state shows all of a host's device that a move could lose.
const state = `ip -d -o addr show up0 | sed -E 's/^[0-9]+: //; / fe80:/d; s/\\.*//'; ip -o link show up0 | sed -E 's/^[0-9]+: //'; ip link show master br0 | grep -o up0`

func TestLaws(t *testing.T) {
	kerneltest.Prove(t, kerneltest.Case{
		Setup: func(s *kerneltest.Sandbox) {
			s.Run(uplink)
		},
		Plan:  plugintest.Plan(t, hostDevice, "c1", Conf{Device: "up0"}, "10.1.2.3/24", "fd00:1:2::3/64"),
		Other: plugintest.Plan(t, hostDevice, "c0", Conf{HWAddr: "02:00:00:00:00:aa", DAD: "off"}, "10.1.2.9/24"),
		Undo:  append(kerneltest.UndoInterface(), kerneltest.Undo{Fact: `^link`, Command: "pod ip link set eth0 address 02:00:00:00:00:ab"}),
	})
}

// FuzzConf: any configuration is read well, or refused well.
func FuzzConf(f *testing.F) { plugintest.Fuzz(f, hostDevice) }
