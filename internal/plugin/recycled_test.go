package plugin_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/kerneltest"
)

// recycled is a pod that has ended, and a living one whose namespace is at the
// same path by now.
type recycled struct {
	*kerneltest.Sandbox
	t      *testing.T
	bin    string
	conf   string // %[1]s is the network, %[2]s the members of the call
	plugin string
}

func (r recycled) call(verb, container, network, more string) kerneltest.Call {
	c := kerneltest.Call{Bin: r.bin, Plugin: r.plugin, Verb: verb, ContainerID: container}
	c.Conf = fmt.Sprintf(`{"cniVersion":"1.0.0","name":%q,"type":%q%s%s}`, network, r.plugin, r.conf, more)
	return c
}

// recycle ends the pod and starts another at its path.
func (r recycled) recycle() {
	r.t.Helper()
	r.Run("pod ip link del eth0 2>/dev/null || true") // at once, and not when the kernel gets round to it
	r.replace()
	r.Run("pod ip link set lo up")
}

func (r recycled) replace() {
	r.t.Helper()
	if err := unix.Unmount(r.Pod, 0); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Remove(r.Pod); err != nil {
		r.t.Fatal(err)
	}
	r.NewPod(r.Pod)
}

// recycleNumber is recycle with the number of the namespace's inode given again,
// which the kernel does as soon as it has let the old one go.
func (r recycled) recycleNumber() {
	r.t.Helper()
	dead := kernel.Netns(r.Pod)
	r.recycle()
	for range 20 {
		if kernel.Netns(r.Pod) == dead {
			break
		}
		r.replace()
	}
	r.Run("pod ip link set lo up")
}

const lookAtPod = `pod ip -d -o link | sed 's/NO-CARRIER,//; s/,LOWER_UP//; s/,M-DOWN//; s/ state [A-Z]*//'; pod ip -o -4 addr; pod ip route show table all | sed '/^[a-z]* *f[ef][08]0:/d; /^fe80:/d; s/ linkdown//'; pod ip rule; pod tc qdisc; tc qdisc; pod sh -c 'cat /proc/sys/net/ipv4/conf/eth0/arp_filter /proc/sys/net/ipv4/tcp_ecn'`

const leased = `,"ipam":{"type":"host-local","subnet":"10.9.0.0/24"}`

// mains are the plugins that make a link.
var mains = []struct {
	folder, conf, setup string
	needs               []string
}{
	{"plugins/main/bridge", leased, "", nil},
	{"plugins/main/ptp", leased, "", nil},
	{"plugins/main/macvlan", `,"master":"up0"` + leased, kerneltest.Segment, nil},
	{"plugins/main/macvlan", `,"master":"up0","mode":"passthru"` + leased, kerneltest.Segment, nil},
	{"plugins/main/ipvlan", `,"master":"up0"` + leased, kerneltest.Segment, []string{"ipvlan"}},
	{"plugins/main/vlan", `,"master":"up0","vlanId":5` + leased, kerneltest.Segment, []string{"vlan"}},
	{"plugins/main/dummy", leased, "", []string{"dummy"}},
	{"plugins/main/dummy", `,"mac":"02:00:00:00:00:42"` + leased, "", []string{"dummy"}},
	{"plugins/main/tap", leased, "", []string{"tun"}},
	{"plugins/main/host-device", `,"device":"dev0"` + leased, "ip link add dev0 address 02:00:00:00:00:77 type veth", nil},
}

// TestRecycled: DEL of a pod that has ended takes nothing of the living pod that
// is at its path by now, whatever the runtime says of the dead one, and does what
// is to be done on the host. DEL of the living pod takes its link.
func TestRecycled(t *testing.T) {
	kerneltest.NeedsTime(t)
	for _, m := range mains {
		for _, network := range []string{"n", "other"} {
			for _, known := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s%.25s/%s/%t", filepath.Base(m.folder), m.conf, network, known), func(t *testing.T) {
					t.Parallel()
					if m.needs != nil {
						kerneltest.Needs(t, m.needs...)
					}
					bin := kerneltest.Build(t, m.folder, "plugins/ipam/host-local")
					r := recycled{Sandbox: kerneltest.New(t), t: t, bin: bin, conf: m.conf, plugin: filepath.Base(m.folder)}
					r.Run(m.setup + "\ntrue")
					prev := func(result string) string {
						if !known {
							return ""
						}
						return `,"prevResult":` + result
					}
					dead := r.Must(r.call("ADD", "dead", "n", "")).Stdout
					r.recycle()
					if !strings.Contains(r.Run("ip link"), "dev0") && r.plugin == "host-device" {
						r.Run(m.setup)
					}
					living := r.Must(r.call("ADD", "living", network, "")).Stdout
					before := r.Run(lookAtPod)
					r.Must(r.call("DEL", "dead", "n", prev(dead)))
					r.Same("DEL of the dead pod", before, r.Run(lookAtPod))
					r.Lacks("grep -rl dead /var/lib/cni/networks || true", "networks")
					r.Must(r.call("CHECK", "living", network, `,"prevResult":`+living))
					r.Must(r.call("DEL", "living", network, prev(living)))
					r.Lacks("pod ip -o link", "eth0")
				})
			}
		}
	}
}

// tunes are chained plugins that change something in the pod, behind bridge.
var tunes = []struct {
	folder, conf string
	needs        []string
}{
	{"plugins/meta/tuning", `,"mac":"02:00:00:00:00:42","mtu":1400,"promisc":true,"sysctl":{"net.ipv4.conf.IFNAME.arp_filter":"1","net.ipv4.tcp_ecn":"1"}`, nil},
	{"plugins/meta/sbr", ``, nil},
	{"plugins/meta/vrf", `,"vrfname":"blue"`, []string{"vrf"}},
	{"plugins/meta/bandwidth", `,"ingressRate":1000000`, []string{"shaping"}},
	{"plugins/meta/bandwidth", `,"egressRate":1000000,"egressShaper":"pod"`, []string{"shaping"}},
	{"plugins/meta/loopback", ``, nil},
}

// TestRecycledTuned is TestRecycled for what a chain changes in the pod. The
// living pod has the same changes, by our plugin or by hand.
func TestRecycledTuned(t *testing.T) {
	kerneltest.NeedsTime(t)
	for _, c := range tunes {
		for _, known := range []bool{true, false} {
			for _, byHand := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s%.25s/%t/%t", filepath.Base(c.folder), c.conf, known, byHand), func(t *testing.T) {
					if c.needs != nil {
						kerneltest.Needs(t, c.needs...)
					}
					bin := kerneltest.Build(t, c.folder, "plugins/main/bridge", "plugins/ipam/host-local")
					r := recycled{Sandbox: kerneltest.New(t), t: t, bin: bin, conf: c.conf, plugin: filepath.Base(c.folder)}
					main := recycled{Sandbox: r.Sandbox, t: t, bin: bin, plugin: "bridge", conf: `,"isGateway":true` + leased}
					add := func(container string, tuned bool) string {
						result := main.Must(main.call("ADD", container, "n", "")).Stdout
						if tuned {
							result = r.Must(r.call("ADD", container, "n", `,"prevResult":`+result)).Stdout
						}
						return `,"prevResult":` + result
					}
					dead := add("dead", true)
					if r.plugin == "tuning" { // which knows the pod by it
						r.recycleNumber()
					} else {
						r.recycle()
					}
					living := add("living", !byHand)
					if byHand {
						r.Run(`pod sh -c 'echo 1 > /proc/sys/net/ipv4/tcp_ecn'; pod ip rule add from 10.9.0.3 table 100; pod ip route add default via 10.9.0.1 table 100`)
					}
					before := r.Run(lookAtPod)
					prev := dead
					if !known {
						prev = ""
					}
					r.Must(r.call("DEL", "dead", "n", prev))
					r.Same("DEL of the dead pod", before, r.Run(lookAtPod))
					r.Lacks("ls /run/cni/tuning 2>/dev/null || true", "dead")
					if byHand {
						return
					}
					r.Must(r.call("CHECK", "living", "n", living))
					r.Must(r.call("DEL", "living", "n", living))
					if before == r.Run(lookAtPod) && r.plugin != "loopback" { // lo is in use
						t.Errorf("DEL of the living pod takes nothing back:\n%s", before)
					}
				})
			}
		}
	}
}

// TestRecycledLoopback: lo stays up in a pod that nothing else is in.
func TestRecycledLoopback(t *testing.T) {
	bin := kerneltest.Build(t, "plugins/meta/loopback")
	r := recycled{Sandbox: kerneltest.New(t), t: t, bin: bin, plugin: "loopback"}
	dead := r.Must(r.call("ADD", "dead", "n", "")).Stdout
	for _, byHand := range []bool{true, false} {
		r.recycle()
		if !byHand {
			r.Run("pod ip link set lo down")
			r.Must(r.call("ADD", "living", "n", ""))
		}
		for _, prev := range []string{"", `,"prevResult":` + dead} {
			r.Must(r.call("DEL", "dead", "n", prev))
			r.Has("pod ip link show lo", ",UP")
		}
	}
	r.Must(r.call("DEL", "living", "n", ""))
	r.Lacks("pod ip link show lo", ",UP")
}
