package main

import (
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// upstream is a call of upstream's plugin, which knows no limit without a burst.
func (w world) upstream(verb, conf string) kerneltest.Call {
	w.t.Helper()
	path := kerneltest.Upstream(w.t, "bandwidth")
	return kerneltest.Call{Bin: strings.TrimSuffix(path, "/bandwidth"), Plugin: "bandwidth", Verb: verb, Conf: conf}
}

// TestOthersShaper: where the link has a discipline already, the error says which,
// and it stays.
func TestOthersShaper(t *testing.T) {
	t.Parallel()
	kerneltest.Needs(t, "shaping")
	w := newWorld(t)
	w.Run("tc qdisc add dev host0 root handle 7: pfifo")
	before := w.Run("tc qdisc show")
	w.Refuses(w.call("ADD", conf(both)), 101, "host0", "pfifo 7:0")
	w.Must(w.call("DEL", conf(both)))
	w.Same("ADD and DEL", before, w.Run("tc qdisc show"))
	w.Run("tc qdisc replace dev host0 root handle 1: tbf rate 1mbit burst 10k limit 10k")
	w.Must(w.call("DEL", conf("")))
	if left := w.Run("tc qdisc show dev host0"); !strings.Contains(left, "tbf 1:") {
		t.Errorf("DEL of what was never limited has taken a shaper: %s", left)
	}
}

// TestBesideEBPF: filters of others on the hook, and the hook itself, are left
// alone and come before ours.
func TestBesideEBPF(t *testing.T) {
	kerneltest.NeedsTime(t)
	kerneltest.Needs(t, "shaping")
	for what, make := range map[string]string{
		"a hook": "tc qdisc add dev host0 clsact", "the older one": "tc qdisc add dev host0 ingress", "none": "true",
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			// A program with one instruction: return what is written there. 4294967295
			// is TC_ACT_UNSPEC, and 2 is TC_ACT_SHOT.
			const theirs = "tc filter replace dev host0 ingress prio 1 handle 1 bpf da bytecode '1,6 0 0 4294967295,'"
			w.Run("ip addr add 10.1.2.1/24 dev host0; pod ip addr add 10.1.2.3/24 dev eth0; " + make)
			if what != "none" {
				w.Run(theirs)
			}
			w.Must(w.call("ADD", conf(both)))
			if what == "none" {
				w.Run(theirs) // on the hook that is there now
				w.Run("tc filter add dev host0 egress prio 1 handle 1 bpf da bytecode '1,6 0 0 4294967295,'")
			}
			w.Must(w.call("CHECK", conf(both)))
			order := w.Run("tc filter show dev host0 ingress")
			if theirs, ours := strings.Index(order, "pref 1 bpf"), strings.Index(order, "pref 60003 u32"); theirs < 0 || ours < theirs {
				t.Errorf("their filter is not before ours:\n%s", order)
			}
			const ping = "pod ping -c3 -i0.3 10.1.2.1 -W"
			w.Run(ping + "60")
			if passed := w.Run("tc -s qdisc show dev $(" + ifbs + " | cut -d' ' -f1)"); strings.Contains(passed, "Sent 0 bytes") {
				t.Errorf("nothing went through the device:\n%s", passed)
			}
			w.Run(strings.Replace(theirs, "4294967295", "2", 1))
			if out, err := w.Try(ping + "1"); err == nil {
				t.Errorf("what their program drops gets through:\n%s", out)
			}
			w.Must(w.call("DEL", conf(both)))
			if left := w.Run("tc filter show dev host0 ingress"); !strings.Contains(left, "pref 1 bpf") || strings.Contains(left, "u32") {
				t.Errorf("after DEL there is\n%s", left)
			}
		})
	}
}

// TestSamePriority: what another program has in a priority of ours stays, and
// where it is of another kind the error says so.
func TestSamePriority(t *testing.T) {
	kerneltest.Needs(t, "shaping")
	const exempt = `,"egressRate":40000000,"exemptSubnets":["10.9.0.0/16","10.8.0.0/16","fd00::/64"]`
	for what, row := range map[string]struct{ theirs, refused string }{
		"one to redirect":     {"prio 60003 protocol all u32 match u32 1 1 flowid 7:7", ""},
		"one to exempt":       {"prio 60001 protocol ip u32 match u32 1 1 flowid 7:7", ""},
		"upstream's":          {"prio 1 protocol all u32 match u32 1 1 flowid 7:7", ""},
		"of another kind":     {"prio 60003 protocol all handle 1 bpf da bytecode '1,6 0 0 4294967295,'", "priority 60003 already, of the kind bpf"},
		"of another protocol": {"prio 60002 protocol ip u32 match u32 1 1 flowid 7:7", "priority 60002 already"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			const show = "tc filter show dev host0 ingress | sed 's/ *index .*//'"
			w.Run("tc qdisc add dev host0 ingress && tc filter add dev host0 ingress " + row.theirs)
			before := w.Run(show)
			if row.refused != "" {
				w.Refuses(w.call("ADD", conf(exempt)), 101, row.refused)
			} else {
				w.Must(w.call("ADD", conf(exempt)))
				w.Must(w.call("CHECK", conf(exempt)))
			}
			w.Must(w.call("DEL", conf(exempt)))
			w.Same("DEL", before, w.Run(show))
		})
	}
	t.Run("beside upstream's", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		result := w.Must(w.upstream("ADD", conf(`,"egressRate":40000000,"egressBurst":800000`))).Stdout
		w.Run("tc filter add dev host0 ingress prio 1 protocol all u32 match u32 1 1 flowid 7:7")
		w.Must(w.call("DEL", `{"cniVersion":"1.1.0","name":"n","type":"bandwidth","prevResult":`+result+`}`))
		if left := w.Run("tc filter show dev host0 ingress"); strings.Contains(left, "mirred") || !strings.Contains(left, "match 00000001/00000001") {
			t.Errorf("after DEL there is\n%s", left)
		}
	})
}

// TestUpstream: each of the two plugins cleans what the other has made, and CHECK
// of each finds the other's as it should be.
func TestUpstream(t *testing.T) {
	kerneltest.NeedsTime(t)
	kerneltest.Needs(t, "shaping")
	const limits = `,"ingressRate":80000000,"ingressBurst":1600000,"egressRate":40000000,"egressBurst":800000`
	t.Run("theirs by ours", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		before := w.Text() + w.Run(look)
		for range 2 {
			result := w.Must(w.upstream("ADD", conf(limits))).Stdout
			whole := `{"cniVersion":"1.1.0","name":"n","type":"bandwidth"` + limits + `,"prevResult":` + result + `}`
			w.Must(w.call("CHECK", whole))
			w.Must(w.call("DEL", whole))
			w.Same("DEL", before, w.Text()+w.Run(look))
		}
	})
	t.Run("theirs by nobody", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.Must(w.upstream("ADD", conf(limits)))
		w.Must(w.upstream("DEL", conf(limits)))
		w.Run("tc qdisc del dev host0 root")
		w.Must(w.call("ADD", conf(limits))) // upstream's filter leads nowhere, and would drop everything
		w.Must(w.call("CHECK", conf(limits)))
		if have := w.Run("tc filter show dev host0 ingress"); strings.Contains(have, "device *") {
			t.Errorf("packets are still dropped:\n%s", have)
		}
	})
	t.Run("theirs is another's", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.Must(w.upstream("ADD", conf(limits)))
		other := w.call("DEL", conf("")) // whose result knows of no device
		other.IfName = "eth1"
		w.Must(other)
		if w.ifbs() != 1 {
			t.Error("the DEL of eth1 has taken the device of eth0")
		}
	})
	t.Run("ours by theirs", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		before := w.Text()
		w.Must(w.call("ADD", conf(limits)))
		w.Must(w.upstream("CHECK", conf(limits)))
		w.Must(w.upstream("DEL", conf(limits)))
		w.Same("upstream's DEL", before, w.Text())
	})
}

// TestOnlyOwnLink: a pod may number its links so that its interface seems to be
// the other end of another pod's. It gets nothing of that one's.
func TestOnlyOwnLink(t *testing.T) {
	t.Parallel()
	kerneltest.Needs(t, "shaping")
	w := newWorld(t)
	w.NewPod(w.Pod + "2")
	w.Run(`pod ip link del eth0
		ip link add victim index 77 type veth peer name eth0 index 78 netns "$POD"2
		ip link set victim alias n/c2/eth0 up
		tc qdisc add dev victim root handle 1: tbf rate 1mbit burst 10k limit 10k
		pod ip link add eth0 index 78 type veth peer name peer index 77`)
	before := w.Text() + w.Run("tc qdisc show")
	w.Refuses(w.call("ADD", conf(both)), 102, "victim", "n/c2/eth0's by its alias")
	w.Must(w.call("DEL", conf(both)))
	w.Same("ADD and DEL", before, w.Text()+w.Run("tc qdisc show"))
}
