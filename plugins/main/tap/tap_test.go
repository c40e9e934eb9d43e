package main

import (
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plugintest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// anotherUser is one that a plain user's namespace has not.
const anotherUser = "a device of another user"

// all is every key of the device.
func all() Conf {
	user, group := uint32(1000), uint32(2000)
	return Conf{MultiQueue: true, MTU: 1400, MAC: "02:00:00:00:00:07", Owner: &user, Group: &group, Bridge: "br0", SELinuxContext: "system_u:system_r:container_t:s0:c1,c2"}
}

func TestWant(t *testing.T) {
	plugintest.Golden(t, map[string]fact.Plan{
		"all":    plugintest.Plan(t, tap, "c1", all()),
		"dual":   plugintest.Plan(t, tap, "c1", Conf{}, "10.1.2.3/24", "fd00:1:2::3/64"),
		"layer2": plugintest.Plan(t, tap, "c1", Conf{}),
	})
}

// TestMAC: of the places that a MAC can come from, the runtime's word counts
// most.
func TestMAC(t *testing.T) {
	places := []func(*Conf, map[string]string){
		func(c *Conf, _ map[string]string) { c.MAC = "02:00:00:00:00:01" },
		func(_ *Conf, args map[string]string) { args["MAC"] = "02:00:00:00:00:02" },
		func(c *Conf, _ map[string]string) { c.CNIArgs.CNI.MAC = "02:00:00:00:00:03" },
		func(c *Conf, _ map[string]string) { c.RuntimeConfig.MAC = "02:00:00:00:00:04" },
	}
	var c Conf
	call := plugintest.At("c1")
	call.Args = map[string]string{}
	for i, place := range places {
		place(&c, call.Args)
		if err := validate(&call, &c); err != nil || c.mac[5] != byte(i+1) {
			t.Errorf("place %d: %v %v", i, c.mac, err)
		}
	}
}

func TestLaws(t *testing.T) {
	kerneltest.Needs(t, "tun")
	kerneltest.Prove(t, kerneltest.Case{
		Plan:  plugintest.Plan(t, tap, "c1", Conf{MTU: 1400, MultiQueue: true}, "10.1.2.3/24", "fd00:1:2::3/64"),
		Other: plugintest.Plan(t, tap, "c0", Conf{}, "10.1.2.9/24"),
		Undo:  append(kerneltest.UndoInterface(), kerneltest.Undo{Fact: `^link`, Command: "pod ip link del eth0; pod ip tuntap add mode tap name eth0"}),
	})
}

func TestLawsLayer2(t *testing.T) {
	kerneltest.NeedsRoot(t, anotherUser)
	kerneltest.Needs(t, "tun")
	kerneltest.Prove(t, kerneltest.Case{
		Setup: func(s *kerneltest.Sandbox) {
			s.Run("pod ip link add br0 address 02:00:00:00:00:b0 type bridge; pod ip link set br0 up mtu 1400")
		},
		Plan: plugintest.Plan(t, tap, "c1", all()),
		Undo: []kerneltest.Undo{
			{Fact: `^link`, Command: "pod ip link set eth0 nomaster"},
			{Fact: `^up   pod`, Command: "pod ip link set eth0 down"},
		},
	})
}

// TestCheck sees each of the device's properties.
func TestCheck(t *testing.T) {
	kerneltest.NeedsRoot(t, anotherUser)
	kerneltest.Needs(t, "tun")
	for _, command := range []string{
		"ip link set eth0 address 02:00:00:00:00:08", "ip link set eth0 mtu 1300", "ip link set eth0 nomaster", "ip link del eth0",
		"sh -c 'ip link del eth0; ip tuntap add mode tun name eth0 multi_queue'", "sh -c 'ip link del eth0; ip tuntap add mode tap name eth0'",
	} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			s := kerneltest.New(t)
			s.Run("pod ip link add br0 type bridge")
			p := plugintest.Plan(t, tap, "c1", all())
			if err := p.Add(s.Kernel()); err != nil {
				t.Fatal(err)
			}
			s.Run("pod " + command)
			if err := p.Check(s.Kernel()); err == nil || !strings.Contains(err.Error(), "tap mac") {
				t.Errorf("CHECK does not see it: %v", err)
			}
		})
	}
}

// FuzzConf: any configuration is read well, or refused well.
func FuzzConf(f *testing.F) { plugintest.Fuzz(f, tap) }
