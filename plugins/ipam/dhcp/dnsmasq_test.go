package main

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestLease: a pod gets its address and everything that the server tells, and
// DEL gives it back though the link has gone before.
func TestLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := w.dnsmasq(range4(50, 99), "--dhcp-option=option:router,10.9.0.1", "--dhcp-option=121,10.20.0.0/16,10.9.0.2,10.21.0.0/16,0.0.0.0,0.0.0.0/0,10.9.0.1",
		"--dhcp-option=option:dns-server,10.9.0.3", "--dhcp-option=option:domain-name,example.test", "--dhcp-option=option:domain-search,a.test,b.test",
		"--dhcp-option=option:mtu,1400", "--dhcp-option=option:ntp-server,10.9.0.4")
	w.daemon()
	before := w.Text()
	got := w.result(w.add(`"priority":7`))
	if len(got.IPs) != 1 || !strings.HasPrefix(got.IPs[0].Address.String(), subnet) || got.IPs[0].Gateway.String() != "10.9.0.1" {
		t.Fatalf("addresses %v", got.IPs)
	}
	addr := got.IPs[0].Address.IP.String()
	if d := got.DNS; fmt.Sprintf("%v %v %v", d.Nameservers, d.Search, d.Domain) != "[10.9.0.3] [a.test b.test] example.test" {
		t.Errorf("DNS %+v", d)
	}
	if pod := got.Interfaces[2]; pod.Mtu != 1400 {
		t.Errorf("the interface in the result: %+v", pod)
	}
	routes := w.Run("pod ip route")
	for _, want := range []string{"default via 10.9.0.1 dev eth0 metric 7", "10.20.0.0/16 via 10.9.0.2 dev eth0 metric 7", "10.21.0.0/16 dev eth0 scope link metric 7"} {
		if !strings.Contains(routes, want) {
			t.Errorf("no route %q among\n%s", want, routes)
		}
	}
	if out := w.Run("pod ip -o link show eth0; pod ip -o addr show eth0"); !strings.Contains(out, "mtu 1400") || !strings.Contains(out, addr+"/24 brd 10.9.0.255") {
		t.Errorf("the interface:\n%s", out)
	}
	if r := w.record("c1"); len(r.Leases["4"].NTP) != 1 || r.Leases["4"].NTP[0].String() != "10.9.0.4" {
		t.Errorf("NTP in the record: %v", r.Leases["4"].NTP)
	}
	if leases := w.Run("cat /run/dnsmasq.leases"); !strings.Contains(leases, addr+" * "+clientID) {
		t.Errorf("the server does not know upstream's client id: %s", leases)
	}
	w.Run("pod ping -c1 -W60 10.9.0.1")
	w.Must(kerneltest.Call{Bin: w.bin, Plugin: "bridge", Verb: "CHECK", Conf: with(conf(`"priority":7`), got)})

	w.del()
	server.hears(1, "DHCPRELEASE.* "+addr)
	w.del() // what is not there is success
	w.Same("DEL", before, w.Text())
	if n := server.count("DHCPRELEASE"); n != 1 {
		t.Errorf("%d releases", n)
	}
}

// result reads what ADD printed.
func (w world) result(a kerneltest.Answer) *cni.Result {
	w.t.Helper()
	r, err := cni.ParseResult("x", []byte(a.Stdout), "1.1.0")
	if err != nil {
		w.t.Fatalf("%v:\n%s", err, a.Stdout)
	}
	return r
}

// with is a configuration with a prevResult.
func with(conf string, prev *cni.Result) string {
	text, err := cni.Print(prev, "1.1.0")
	if err != nil {
		panic(err)
	}
	return strings.TrimSuffix(conf, "}") + `,"prevResult":` + string(text) + "}"
}

// TestFamilies: with DHCPv6 the pod has an address of each family, and the
// routes that the router advertises.
func TestFamilies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.six()
	server := w.dnsmasq(range4(50, 99), "--enable-ra", "--dhcp-range=2001:db8::100,2001:db8::1ff,64,2m",
		"--dhcp-option=option6:dns-server,[2001:db8::53]", "--dhcp-option=option6:domain-search,six.test")
	w.daemon()
	for _, family := range []string{`"family":["4","6"]`, `"family":["6"]`} {
		got := w.result(w.add(family))
		six := got.IPs[len(got.IPs)-1].Address
		if !strings.HasPrefix(six.String(), "2001:db8::1") || !strings.HasSuffix(six.String(), "/128") || len(got.IPs) != strings.Count(family, ",")+1 {
			t.Errorf("%s: %v", family, got.IPs)
		}
		if !strings.Contains(fmt.Sprintf("%v %v", got.DNS.Nameservers, got.DNS.Search), "2001:db8::53] [six.test]") {
			t.Errorf("%s: %+v", family, got.DNS)
		}
		routes := w.Run("pod ip -6 route")
		for _, want := range []string{"default via fe80::ff:fe00:1 dev eth0 proto ra", "2001:db8::/64 dev eth0 proto kernel"} {
			if !strings.Contains(routes, want) {
				t.Errorf("%s: no route %q among\n%s", family, want, routes)
			}
		}
		w.Run("pod ping -c1 -W60 2001:db8::1")
		w.Must(kerneltest.Call{Bin: w.bin, Plugin: "bridge", Verb: "CHECK", Conf: with(conf(family), got)})
		w.del(family)
		server.hears(1, "DHCPRELEASE.* 00:04:") // a DUID of the kind UUID
		if leases := w.Run("cat /run/dnsmasq.leases"); strings.Contains(leases, "2001:db8::1") {
			t.Errorf("%s: the server keeps %s", family, leases)
		}
	}
}

// TestConflict: an address that somebody has, of whom the server does not know,
// is declined, and the pod gets another.
func TestConflict(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.six()
	server := w.dnsmasq(range4(50, 51), "--enable-ra", "--dhcp-range=2001:db8::100,2001:db8::101,64,2m")
	w.daemon()
	// The first pod's lease tells which address the server gives it.
	first := w.result(w.add(`"family":["4","6"]`))
	w.del(`"family":["4","6"]`)
	server.hears(2, "DHCPRELEASE")
	squatter := filepath.Join(filepath.Dir(w.Pod), "squatter")
	w.NewPod(squatter)
	w.Run("ip link add squat0 type veth peer name squat netns " + squatter + " && ip link set squat0 master br0 up && nsenter --net=" + squatter + " ip link set squat up")
	w.Run(fmt.Sprintf("nsenter --net=%s sh -c 'ip addr add %s dev squat && ip addr add %s dev squat nodad'", squatter, &first.IPs[0].Address, &first.IPs[1].Address))
	got := w.result(w.add(`"family":["4","6"]`))
	for i := range got.IPs {
		if reflect.DeepEqual(got.IPs[i].Address, first.IPs[i].Address) {
			t.Errorf("%v is somebody else's", got.IPs[i].Address)
		}
	}
	server.hears(2, "DHCPDECLINE")
}

// TestManyAtOnce: a hundred pods come at the same time, and go.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := w.dnsmasq("--dhcp-range=10.9.0.50,10.9.0.200,255.255.255.0,2m", "--dhcp-lease-max=1000")
	daemon := w.daemon()
	const pods = 100
	paths := make([]string, pods)
	for i := range paths {
		paths[i] = filepath.Join(filepath.Dir(w.Pod), fmt.Sprint("pod", i))
		w.NewPod(paths[i])
	}
	given := map[string]string{}
	for id, a := range w.each(paths, "ADD") {
		ip := w.result(a).IPs[0].Address.String()
		if other := given[ip]; other != "" {
			t.Errorf("%s and %s have both %s", id, other, ip)
		}
		given[ip] = id
	}
	w.each(paths, "DEL")
	server.hears(pods, "DHCPRELEASE")
	if n := fds(t, daemon); n > 12 {
		t.Errorf("the daemon has %d open files", n)
	}
	if left := w.records(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// each calls a verb for every pod at the same time.
func (w world) each(paths []string, verb string) map[string]kerneltest.Answer {
	w.t.Helper()
	running := map[string]*kerneltest.Running{}
	for i, path := range paths {
		id := fmt.Sprint("c", i)
		running[id] = w.Begin(kerneltest.Call{Bin: w.bin, Plugin: "bridge", Verb: verb, ContainerID: id, Netns: path, Conf: conf()})
	}
	answers := map[string]kerneltest.Answer{}
	for id, r := range running {
		answers[id] = r.Wait()
		if a := answers[id]; a.Exit != 0 {
			w.t.Errorf("%s of %s: code %d: %s", verb, id, a.Code, a.Msg)
		}
	}
	return answers
}
