package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kerneltest"
)

// kea starts Kea on the bridge, with a lease's times in seconds. Members go into
// its subnet.
func (w world) kea(renew, rebind, valid int, members ...string) *process {
	w.t.Helper()
	if len(members) == 0 {
		members = []string{`"pools":[{"pool":"10.9.0.50 - 10.9.0.60"}]`}
	}
	conf := fmt.Sprintf(`{"Dhcp4":{"interfaces-config":{"interfaces":["br0"]},"lease-database":{"type":"memfile","persist":true,"name":"/run/kea/leases.csv"},
		"renew-timer":%d,"rebind-timer":%d,"valid-lifetime":%d,"authoritative":true,"calculate-tee-times":false,
		"subnet4":[{"id":1,"subnet":"10.9.0.0/24",%s}],
		"loggers":[{"name":"kea-dhcp4","severity":"DEBUG","debuglevel":50,"output_options":[{"output":"stdout","flush":true}]}]}}`,
		renew, rebind, valid, strings.Join(members, ","))
	w.Run("mkdir -p /run/kea")
	w.settled("ip link show br0 | grep -q 'state UP'") // else Kea has no socket, and does not open one later
	if err := os.WriteFile("/run/kea/conf", []byte(conf), 0o600); err != nil {
		w.t.Fatal(err)
	}
	p := w.start("/usr/bin/env", "KEA_LOCKFILE_DIR=/run/kea", "KEA_PIDFILE_DIR=/run/kea", "/usr/sbin/kea-dhcp4", "-c", "/run/kea/conf")
	p.hears(1, "DHCP4_STARTED")
	return p
}

// TestRenew: at its Renew time the lease is extended by the server that gave it,
// which is asked alone.
func TestRenew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kea := w.kea(2, 20, 30)
	w.daemon()
	w.add()
	addr := strings.TrimSuffix(w.address(), "/24")
	kea.hears(1, "DHCPREQUEST.*from "+addr+" to 10.9.0.1")
	kea.hears(3, "DHCP4_PACKET_SEND.*DHCPACK.*to "+addr)
	if w.address() != addr+"/24" {
		t.Errorf("the pod has %s", w.address())
	}
}

// TestOtherMAC: a pod whose hardware address changes, as tuning does it, is still
// the pod that the lease is for.
func TestOtherMAC(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kea := w.kea(2, 20, 30)
	daemon := w.daemon()
	got := w.result(w.add())
	addr := strings.TrimSuffix(w.address(), "/24")
	w.Run("pod ip link set eth0 address 02:00:00:00:00:77")
	kea.hears(1, "02:00:00:00:00:77.*DHCP4_PACKET_RECEIVED|DHCP4_PACKET_RECEIVED.*02:00:00:00:00:77")
	kea.hears(2, "DHCP4_PACKET_SEND.*02:00:00:00:00:77.*DHCPACK.*to "+addr)
	w.Must(kerneltest.Call{Bin: w.bin, Plugin: "dhcp", Verb: "CHECK", Conf: with(conf(), got)})
	if n := daemon.count("has gone|is lost"); n != 0 {
		t.Errorf("the lease was given away")
	}
	w.del()
	kea.hears(1, "DHCP4_RELEASE .*"+addr)
}

// TestRebind: where the server that gave the lease does not answer any more,
// another one is asked at the Rebind time, and takes it over.
func TestRebind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kea := w.kea(2, 5, 60)
	w.daemon("-timeout", "2s")
	w.add()
	was := w.address()
	addr := strings.TrimSuffix(was, "/24")
	_ = kea.stop(syscall.SIGKILL)
	// The other one has another address and the first one's leases.
	w.Run("ip addr del 10.9.0.1/24 dev br0 && ip addr add 10.9.0.2/24 dev br0")
	kea = w.kea(2, 5, 60)
	kea.hears(1, "DHCPREQUEST.*from "+addr+" to 255.255.255.255")
	kea.hears(1, "DHCPREQUEST.*from "+addr+" to 10.9.0.2") // whom it belongs to from now on
	if w.address() != was {
		t.Errorf("the pod has %s, and had %s", w.address(), was)
	}
}

// kea6 starts Kea for IPv6 on the bridge, as a server of its own by each folder.
func (w world) kea6(folder string, renew, rebind int) *process {
	w.t.Helper()
	conf := fmt.Sprintf(`{"Dhcp6":{"interfaces-config":{"interfaces":["br0"]},"data-directory":"%s","lease-database":{"type":"memfile","persist":true,"name":"/run/leases6.csv"},
		"renew-timer":%d,"rebind-timer":%d,"preferred-lifetime":50,"valid-lifetime":60,
		"subnet6":[{"id":1,"subnet":"2001:db8::/64","interface":"br0","pools":[{"pool":"2001:db8::100 - 2001:db8::1ff"}]}],
		"loggers":[{"name":"kea-dhcp6","severity":"DEBUG","debuglevel":50,"output_options":[{"output":"stdout","flush":true}]}]}}`, folder, renew, rebind)
	w.Run("mkdir -p " + folder)
	if err := os.WriteFile(folder+"/conf", []byte(conf), 0o600); err != nil {
		w.t.Fatal(err)
	}
	p := w.start("/usr/bin/env", "KEA_LOCKFILE_DIR="+folder, "KEA_PIDFILE_DIR="+folder, "/usr/sbin/kea-dhcp6", "-c", folder+"/conf")
	p.hears(1, "DHCP6_STARTED")
	return p
}

// TestSixth: a DHCPv6 lease is extended by the server that gave it, and where
// that is gone by another, and given back to that.
func TestSixth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.six()
	first := w.kea6("/run/one", 2, 6)
	daemon := w.daemon("-timeout", "2s")
	got := w.result(w.add(`"family":["6"]`))
	addr := got.IPs[0].Address.IP.String()
	first.hears(2, "packet type.*RENEW|RENEW.*received|DHCP6_PACKET_RECEIVED.*RENEW")
	_ = first.stop(syscall.SIGKILL)
	second := w.kea6("/run/two", 2, 6)
	second.hears(1, "DHCP6_PACKET_RECEIVED.*REBIND")
	second.hears(1, "DHCP6_PACKET_RECEIVED.*RENEW")
	if n := daemon.count("is lost"); n != 0 || !strings.Contains(w.Run("pod ip -6 addr show eth0"), addr+"/128") {
		t.Errorf("the address did not stay")
	}
	w.del(`"family":["6"]`)
	second.hears(1, "DHCP6_RELEASE_NA .*"+addr)
}

// TestRefused: where the network gets other addresses the server takes the old
// one back and is obeyed at once: the pod has a new one, with its routes. CHECK
// tells the runtime.
func TestRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kea := w.kea(2, 4, 60, `"pools":[{"pool":"10.9.0.50 - 10.9.0.50"}]`, `"option-data":[{"name":"routers","data":"10.9.0.1"}]`)
	daemon := w.daemon("-timeout", "2s")
	got := w.result(w.add())
	_ = kea.stop(syscall.SIGKILL)
	w.Run("ip addr del 10.9.0.1/24 dev br0 && ip addr add 10.8.0.1/24 dev br0")
	w.dnsmasq("--dhcp-range=10.8.0.70,10.8.0.70,255.255.255.0,2m")
	daemon.hears(1, "the server refuses it")
	daemon.hears(1, "10.9.0.50/24 is lost")
	daemon.hears(1, "eth0: 10.8.0.70/24 until")
	w.settled(`[ "$(pod ip -o -4 addr show eth0 | awk '{print $4}')" = 10.8.0.70/24 ] && pod ip route | grep -q 'default via 10.8.0.1'`)
	w.Run("pod ping -c1 -W60 10.8.0.1")
	a := w.Call(kerneltest.Call{Bin: w.bin, Plugin: "dhcp", Verb: "CHECK", Conf: with(conf(), got)})
	if a.Code != cni.CodeDrift || !strings.Contains(a.Msg, "10.8.0.70/24") {
		t.Errorf("CHECK: %d %s", a.Code, a.Msg)
	}
}

// TestChanged: what the server changes with an extension comes true on the
// interface.
func TestChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	options := func(router, mtu string) string {
		return `"option-data":[{"name":"routers","data":"` + router + `"},{"name":"interface-mtu","data":"` + mtu + `"}]`
	}
	pool := `"pools":[{"pool":"10.9.0.50 - 10.9.0.60"}]`
	kea := w.kea(2, 20, 60, pool, options("10.9.0.1", "1500"))
	w.daemon()
	w.add()
	_ = kea.stop(syscall.SIGKILL)
	w.kea(2, 20, 60, pool, options("10.9.0.8", "1300"))
	w.settled(`pod ip route | grep -q 'default via 10.9.0.8' && pod ip link show eth0 | grep -q 'mtu 1300' && [ $(pod ip route | grep -c default) = 1 ]`)
}

// TestServerGone: as long as the lease lasts the pod keeps its address, and not
// longer; when a server is back the pod gets one again.
func TestServerGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kea := w.kea(1, 2, 12, `"pools":[{"pool":"10.9.0.50 - 10.9.0.50"}]`, `"option-data":[{"name":"routers","data":"10.9.0.1"}]`)
	daemon := w.daemon("-timeout", "10m") // the lease's times end an attempt to extend it
	w.add()
	_ = kea.stop(syscall.SIGKILL)
	last := w.record("c1").Leases["4"].Expire
	daemon.hears(1, "10.9.0.50/24 is lost")
	if early := time.Until(last); early > 0 {
		t.Errorf("it was lost %v before its time", early)
	}
	w.settled(`[ -z "$(pod ip -o -4 addr show eth0)" ]`)
	w.kea(60, 70, 80, `"pools":[{"pool":"10.9.0.50 - 10.9.0.50"}]`, `"option-data":[{"name":"routers","data":"10.9.0.1"}]`)
	w.settled(`[ "$(pod ip -o -4 addr show eth0 | awk '{print $4}')" = 10.9.0.50/24 ] && pod ip route | grep -q 'default via 10.9.0.1'`)
	w.Run("pod ping -c1 -W60 10.9.0.1")
}

// settled waits until a command succeeds: for what the daemon does in its own
// time, and says before.
func (w world) settled(command string) {
	w.t.Helper()
	for end := time.Now().Add(patience); ; {
		_, err := w.Try(command)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("it does not come about: %s\n%s", command, w.Run("pod ip addr show eth0; pod ip route"))
		}
		time.Sleep(50 * time.Millisecond)
	}
}
