package main

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/fact/tc"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/state/name"
)

const prev = `"prevResult":{"cniVersion":"1.1.0","interfaces":[{"name":"host0"},{"name":"eth0","sandbox":"/n"}],"ips":[{"address":"10.1.2.3/24","interface":1}]}`

func conf(more string) string {
	return `{"cniVersion":"1.1.0","name":"n","type":"bandwidth",` + prev + more + `}`
}

const both = `,"ingressRate":80000000,"egressRate":40000000`

// world is a sandbox with the pair of links and the built plugin.
type world struct {
	*kerneltest.Sandbox
	t   *testing.T
	bin string
}

func newWorld(t *testing.T) world {
	t.Helper()
	w := world{t: t, bin: kerneltest.Build(t, "plugins/meta/bandwidth"), Sandbox: kerneltest.New(t)}
	setup(w.Sandbox)
	return w
}

func (w world) call(verb, conf string) kerneltest.Call {
	return kerneltest.Call{Bin: w.bin, Plugin: "bandwidth", Verb: verb, Conf: conf}
}

const ifbs = "ip -br link show type ifb"

func (w world) ifbs() int { return strings.Count(w.Run(ifbs), "bwp") }

// TestResult: the result has the device, and else nothing new.
func TestResult(t *testing.T) {
	t.Parallel()
	kerneltest.Needs(t, "shaping")
	w := newWorld(t)
	out := w.Must(w.call("ADD", conf(both))).Stdout
	device := tc.IFB{Owner: name.Attachment{Network: "n", ContainerID: "c1", IfName: "eth0"}}
	for _, word := range []string{`"host0"`, `"10.1.2.3/24"`, `"` + device.Name() + `"`, device.MAC().String()} {
		if !strings.Contains(out, word) {
			t.Errorf("the result has no %s:\n%s", word, out)
		}
	}
	if there := w.Run("ip link show dev " + device.Name()); !strings.Contains(there, device.MAC().String()) || !strings.Contains(there, "alias n/c1/eth0") {
		t.Errorf("the device is\n%s", there)
	}
}

// TestNoLimits: the result is passed on, whatever the interface is; without one
// there is nothing to pass on.
func TestNoLimits(t *testing.T) {
	t.Parallel()
	kerneltest.Needs(t, "shaping")
	w := newWorld(t)
	w.Run("pod ip link del eth0; pod ip link add eth0 type bridge")
	before := w.Text()
	for _, none := range []string{"", `,"ingressRate":0,"egressBurst":0`, `,"runtimeConfig":{"bandwidth":{}}`, `,"runtimeConfig":{"bandwidth":null}`,
		`,"egressRate":0,"runtimeConfig":{"bandwidth":{"egressRate":1000}}`} {
		if out := w.Must(w.call("ADD", conf(none))).Stdout; !strings.Contains(out, "10.1.2.3/24") || strings.Contains(out, "bwp") {
			t.Errorf("%s: %s", none, out)
		}
		w.Must(w.call("CHECK", conf(none)))
		w.Must(w.call("DEL", conf(none)))
	}
	w.Same("no limits", before, w.Text())
	w.Refuses(w.call("ADD", `{"cniVersion":"1.1.0","name":"n","type":"bandwidth"}`), 7, "prevResult")
	w.Refuses(w.call("CHECK", `{"cniVersion":"1.1.0","name":"n","type":"bandwidth"}`), 7, "prevResult")
}

// TestDelAndAgain: DEL may come twice, without result, without namespace and with
// a broken configuration; ADD works again on a link that goes on.
func TestDelAndAgain(t *testing.T) {
	kerneltest.NeedsTime(t)
	t.Parallel()
	kerneltest.Needs(t, "shaping")
	w := newWorld(t)
	w.Run("pod ip link set eth0 alias n/c1/eth0") // as whoever made the link has it
	before := w.Text() + w.Run(look)
	for what, del := range map[string]string{
		"as it was": conf(both), "other limits": conf(`,"egressRate":8`), "none": conf(""), "broken": conf(`,"ingressRate":-1,"egressRate":"x"`),
		"no result": `{"cniVersion":"1.1.0","name":"n","type":"bandwidth"}`,
	} {
		w.Must(w.call("ADD", conf(both)))
		w.Must(w.call("ADD", conf(both))) // of which the last one counts
		w.Must(w.call("CHECK", conf(both)))
		for range 2 {
			w.Must(w.call("DEL", del))
		}
		w.Same("DEL, "+what, before, w.Text()+w.Run(look))
		w.Must(w.call("ADD", conf(both)))
		gone := w.call("DEL", del)
		gone.Netns = "/run/netns/none"
		w.Must(gone)
		if n := w.ifbs(); n != 0 {
			t.Errorf("%s: without the namespace %d devices stay", what, n)
		}
		w.Must(w.call("DEL", del)) // the link is still there
		w.Same("a late DEL, "+what, before, w.Text()+w.Run(look))
	}
}

// TestKilled: of an ADD that was killed at any moment DEL leaves nothing, and the
// next ADD works.
func TestKilled(t *testing.T) {
	kerneltest.NeedsTime(t)
	t.Parallel()
	kerneltest.Needs(t, "shaping")
	w := newWorld(t)
	w.Run("pod ip link set eth0 alias n/c1/eth0") // as whoever made the link has it
	before := w.Text() + w.Run(look)
	device := tc.IFB{Owner: name.Attachment{Network: "n", ContainerID: "c1", IfName: "eth0"}}.Name()
	steps := []string{
		"tc qdisc add dev host0 root handle 1: tbf rate 80mbit burst 10k limit 10k",
		"ip link add " + device + " type ifb",
		"ip link set " + device + " alias n/c1/eth0 up",
		"tc qdisc add dev " + device + " root handle 1: tbf rate 40mbit burst 10k limit 10k",
		"tc qdisc replace dev host0 clsact",
		"tc filter add dev host0 ingress prio 60003 u32 match u32 0 0 action mirred egress redirect dev " + device,
	}
	for n := range len(steps) + 1 {
		w.Run(strings.Join(append([]string{"true"}, steps[:n]...), " && "))
		w.Must(w.call("DEL", `{"cniVersion":"1.1.0","name":"n","type":"bandwidth"`+both+`}`))
		w.Same(fmt.Sprintf("DEL after %d steps", n), before, w.Text()+w.Run(look))
		w.Must(w.call("ADD", conf(both)))
		w.Must(w.call("DEL", conf(both)))
	}
}

// TestTwoInterfaces of one container in one network each have a device, and each
// DEL takes its own, in either order.
func TestTwoInterfaces(t *testing.T) {
	kerneltest.Needs(t, "shaping")
	for _, order := range [][]string{{"eth0", "eth1"}, {"eth1", "eth0"}} {
		t.Run(order[0], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Run(`ip link add host1 type veth peer name eth1 netns "$POD"; ip link set host1 up; pod ip link set eth1 up`)
			before := w.Text()
			results := map[string]string{}
			do := func(verb, ifname string) kerneltest.Answer {
				config := `{"cniVersion":"1.1.0","name":"n","type":"bandwidth"` + both
				if result := results[ifname]; result != "" {
					config += `,"prevResult":` + result
				} else {
					config += strings.NewReplacer("host0", "host"+ifname[3:], "eth0", ifname).Replace("," + prev)
				}
				c := w.call(verb, config+"}")
				c.IfName = ifname
				return w.Must(c)
			}
			for _, ifname := range []string{"eth0", "eth1"} {
				results[ifname] = do("ADD", ifname).Stdout
			}
			if n := w.ifbs(); n != 2 {
				t.Fatalf("%d devices:\n%s", n, w.Run(ifbs))
			}
			for ifname, result := range results {
				device := strings.Fields(w.Run("ip -o link show type ifb | grep 'alias n/c1/" + ifname + "'"))[1]
				if !strings.Contains(result, `"`+strings.TrimSuffix(device, ":")+`"`) {
					t.Errorf("the result of %s does not name %s:\n%s", ifname, device, result)
				}
			}
			do("DEL", order[0])
			do("CHECK", order[1])
			do("DEL", order[1])
			w.Same("both DELs", before, w.Text())
		})
	}
}

// TestCheckOfQuiet: CHECK sees a device that is down.
func TestCheckOfQuiet(t *testing.T) {
	t.Parallel()
	kerneltest.Needs(t, "shaping")
	w := newWorld(t)
	w.Must(w.call("ADD", conf(both)))
	w.Run("ip link set $(" + ifbs + " | cut -d' ' -f1) down")
	w.Refuses(w.call("CHECK", conf(both)), 104, "is down")
}

// TestGC removes the devices of attachments that nobody remembers, and upstream's
// that lead nowhere.
func TestGC(t *testing.T) {
	t.Parallel()
	kerneltest.Needs(t, "shaping")
	w := newWorld(t)
	w.Must(w.call("ADD", conf(both)))
	other := w.call("ADD", strings.Replace(conf(`,"egressRate":1000000`), `"name":"n"`, `"name":"m"`, 1))
	w.Run(`ip link add host1 type veth peer name eth1 netns "$POD"; ip link add host2 type veth peer name eth2 netns "$POD"`)
	other.IfName = "eth1"
	w.Must(other)
	up := w.upstream("ADD", strings.NewReplacer("host0", "host2", "eth0", "eth2").Replace(conf(`,"egressRate":1000000,"egressBurst":1000000`)))
	up.IfName, up.ContainerID = "eth2", "c2"
	w.Must(up)
	w.Run("ip link add bwp0123456789xy type ifb; ip link add dev bwp0123456789 type veth") // which are nobody's
	gc := func(valid string) {
		t.Helper()
		w.Must(w.call("GC", `{"cniVersion":"1.1.0","name":"n","type":"bandwidth","cni.dev/valid-attachments":[`+valid+`]}`))
	}
	gc(`{"containerID":"c1","ifname":"eth0"}`)
	if n := w.ifbs(); n != 4 {
		t.Fatalf("GC has taken what is alive:\n%s", w.Run(ifbs))
	}
	gc("")
	if n := w.ifbs(); n != 3 {
		t.Errorf("the stale device is still there:\n%s", w.Run(ifbs))
	}
	w.Run("ip link del host2")
	gc("")
	left := w.Run("ip -o link show type ifb")
	if n := w.ifbs(); n != 2 || !strings.Contains(left, "alias m/c1/eth1") || !strings.Contains(left, "bwp0123456789xy") {
		t.Errorf("upstream's device leads nowhere, and left is\n%s", left)
	}
	// As far as an ADD of ours, and one of upstream's, may just have come.
	w.Run("ip link add bwp00000000000a type ifb; ip link add bwp00000000000b type ifb; ip link set bwp00000000000b up")
	gc("")
	if n := w.ifbs(); n != 4 {
		t.Errorf("GC has taken what other ADDs are making:\n%s", w.Run(ifbs))
	}
}

// TestStatus looks and makes nothing.
func TestStatus(t *testing.T) {
	t.Parallel()
	kerneltest.Needs(t, "shaping")
	w := newWorld(t)
	before := w.Text() + w.Run("tc qdisc show; tc actions list action mirred")
	config := `{"cniVersion":"1.1.0","name":"n","type":"bandwidth"}`
	w.Must(w.call("STATUS", config))
	w.Same("STATUS", before, w.Text()+w.Run("tc qdisc show; tc actions list action mirred"))
}

// TestStatusOfLess: STATUS and ADD name what this kernel does not have.
func TestStatusOfLess(t *testing.T) {
	t.Parallel()
	kerneltest.Needs(t, "shaping")
	w := newWorld(t)
	exempt := conf(both + `,"exemptSubnets":["10.0.0.0/8"]`)
	if _, err := w.Try("unshare -n tc qdisc add dev lo root prio"); err == nil {
		w.Must(w.call("STATUS", exempt))
		return
	}
	w.Refuses(w.call("STATUS", exempt), 50, "prio", "CONFIG_NET_SCH_PRIO")
	w.Refuses(w.call("ADD", exempt), 102, "prio", "CONFIG_NET_SCH_PRIO")
}

// TestIsLive: a filter that leads nowhere drops what the pod sends, so the filter
// goes first.
func TestIsLive(t *testing.T) {
	t.Parallel()
	kerneltest.Needs(t, "shaping")
	w := newWorld(t)
	w.Run("ip addr add 10.1.2.1/24 dev host0; pod ip addr add 10.1.2.3/24 dev eth0")
	for _, verb := range []string{"ADD", "DEL", "ADD", "DEL"} {
		w.Must(w.call(verb, conf(both)))
		if out, err := exec.Command("ping", "-c3", "-i0.3", "-W60", "10.1.2.3").CombinedOutput(); err != nil {
			t.Fatalf("after %s: %v\n%s", verb, err, out)
		}
	}
}
