package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestUpstream: either side of upstream's works with either of ours, servers
// know the pod again, and an upgrade under a running pod gives the lease back.
func TestUpstream(t *testing.T) {
	t.Parallel()
	theirs := kerneltest.Upstream(t, "dhcp")
	w := newWorld(t)
	server := w.dnsmasq(range4(50, 99), "--dhcp-option=option:router,10.9.0.1")
	w.Run("ip link add host0 type veth peer name eth0 netns " + w.Pod + " && ip link set host0 master br0 up && pod ip link set eth0 up")
	ours := filepath.Join(w.bin, "dhcp")
	before := map[string]string{}
	for _, daemon := range []string{theirs, ours} {
		d := w.start(daemon, "daemon")
		w.settled("[ -S /run/cni/dhcp.sock ]")
		for _, plugin := range []string{theirs, ours} {
			call := kerneltest.Call{Bin: filepath.Dir(plugin), Plugin: "dhcp", Conf: conf()}
			got := w.result(w.Must(call))
			if len(got.IPs) != 1 || got.IPs[0].Gateway.String() != "10.9.0.1" || len(got.Routes) != 1 {
				t.Errorf("%s with the daemon %s: %v %v", plugin, daemon, got.IPs, got.Routes)
			}
			before[got.IPs[0].Address.String()] = plugin
			call.Verb, call.Conf = "CHECK", with(conf(), got)
			w.Must(call)
			call.Verb = "DEL"
			w.Must(call)
		}
		_ = d.stop(syscall.SIGTERM)
	}
	if len(before) != 1 {
		t.Errorf("the server took one pod for several: %v", before)
	}
	server.hears(2, "DHCPRELEASE") // those of our daemon
}

// TestTakenOver: a pod that upstream's daemon got a lease for keeps its address
// with ours: the first CHECK takes the lease over, and one that is killed gives
// nothing back that the pod has.
func TestTakenOver(t *testing.T) {
	t.Parallel()
	theirs := kerneltest.Upstream(t, "dhcp")
	w := newWorld(t)
	kerneltest.NeedsPrograms(t, "nft")
	server := w.dnsmasq(range4(50, 99))
	w.Run("ip link add host0 type veth peer name eth0 netns " + w.Pod + " && ip link set host0 master br0 up && pod ip link set eth0 up")
	old := w.start(theirs, "daemon")
	w.settled("[ -S /run/cni/dhcp.sock ]")
	got := w.result(w.Must(kerneltest.Call{Bin: filepath.Dir(theirs), Plugin: "dhcp", Conf: conf()}))
	_ = old.stop(syscall.SIGTERM)
	daemon := w.daemon()
	check := kerneltest.Call{Bin: w.bin, Plugin: "dhcp", Verb: "CHECK", Conf: with(conf(), got)}
	if a := w.Call(check); a.Code != 104 || !strings.Contains(a.Msg, "the pod has no IPv4 address of the result's") {
		t.Errorf("CHECK of a pod without its address: %d %s", a.Code, a.Msg)
	}
	w.Run("pod ip addr add " + got.IPs[0].Address.String() + " dev eth0")
	w.Run(loseAnswers)
	killed := w.Begin(check)
	server.hears(2, "DHCPACK")
	killed.Kill()
	w.Run("nft delete table inet lost")
	w.Must(check) // which waits for what is under way
	if n := server.count("DHCPRELEASE"); n != 0 {
		t.Errorf("%d releases", n)
	}
	daemon.hears(1, "net/c1/eth0: "+got.IPs[0].Address.String()+" until")
	w.Must(check)
}

// TestMacvlan: a pod on a link of the host's, whose server is beyond that. The
// lease is given back although the pod has gone altogether.
func TestMacvlan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Run("ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 master br0 up")
	server := w.dnsmasq(range4(50, 99))
	daemon := w.daemon()
	conf := strings.NewReplacer(`"type":"bridge","bridge":"br0"`, `"type":"macvlan","master":"up0"`).Replace(conf())
	got := w.result(w.Must(kerneltest.Call{Bin: w.bin, Plugin: "macvlan", Conf: conf}))
	w.Run("pod ping -c1 -W60 10.9.0.1")
	if s := w.record("c1").Segment; s.Master != "up0" {
		t.Errorf("the segment is %+v", s)
	}
	w.Run("umount " + w.Pod + " && rm " + w.Pod)
	w.Must(kerneltest.Call{Bin: w.bin, Plugin: "macvlan", Verb: "DEL", Conf: conf})
	server.hears(1, "DHCPRELEASE.* "+got.IPs[0].Address.IP.String())
	daemon.hears(1, "giving back "+got.IPs[0].Address.String())
}
