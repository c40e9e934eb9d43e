package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestSpellings of the runtimes: containerd's begin with capitals, and its burst
// is the most that 32 bits hold.
func TestSpellings(t *testing.T) {
	t.Parallel()
	kerneltest.Needs(t, "shaping")
	w := newWorld(t)
	w.Must(w.call("ADD", conf(`,"runtimeConfig":{"bandWidth":{"IngressRate":80000000,"IngressBurst":4294967295,"EgressRate":40000000,"EgressBurst":4294967295}}`)))
	have := w.Run("tc qdisc show")
	for _, want := range []string{"rate 80Mbit burst 500000b", "rate 40Mbit burst 250000b"} {
		if !strings.Contains(have, want) {
			t.Errorf("no %s in\n%s", want, have)
		}
	}
}

// TestNumbers: what the kernel makes of rates and bursts, however small or large.
func TestNumbers(t *testing.T) {
	t.Parallel()
	kerneltest.Needs(t, "shaping")
	w := newWorld(t)
	for _, c := range []struct {
		rate, burst uint64
		mtu         int
		want        string // as tc shows it: its burst is the field that may not hold it
	}{
		{1, 0, 1500, "rate 8bit"},
		{7, 0, 1500, "rate 8bit"},
		{9, 0, 1500, "rate 8bit"},
		{1000, 8 << 30, 1500, "rate 1Kbit"},
		{8000, 4294967294, 1500, "rate 8Kbit"},
		{1e6, 0, 1500, "rate 1Mbit burst 6250b"},
		{1e6, 8, 1500, "rate 1Mbit burst 1518b"},
		{1e6, 80000, 1500, "rate 1Mbit burst 10000b"},
		{1e6, 0, 9000, "rate 1Mbit burst 9018b"},
		{1e8, 0, 65535, "rate 100Mbit burst 625000b"},
		{1e8, 0, 1500, "rate 100Mbit burst 625000b"},
		{1e8, 4294967295, 1500, "rate 100Mbit burst 625000b"},
		{1e8, 1 << 62, 1500, "rate 100Mbit burst 625000b"},
		{1e11, 0, 1500, "rate 100Gbit burst 6249"},
		{1<<64 - 1, 0, 1500, "rate 18446744"},
	} {
		what := fmt.Sprintf("%d bit/s, burst %d, mtu %d", c.rate, c.burst, c.mtu)
		w.Run(fmt.Sprintf("ip link set host0 mtu %d; pod ip link set eth0 mtu %[1]d", c.mtu))
		config := conf(fmt.Sprintf(`,"ingressRate":%d,"ingressBurst":%d,"egressRate":%[1]d,"egressBurst":%[2]d`, c.rate, c.burst))
		w.Must(w.call("ADD", config))
		w.Must(w.call("CHECK", config))
		if have := w.Run("tc -d qdisc show"); strings.Count(have, c.want) != 2 {
			t.Errorf("%s: no %q twice in\n%s", what, c.want, have)
		}
		if have := w.Run("ip link show type ifb"); !strings.Contains(have, fmt.Sprintf("mtu %d ", c.mtu)) {
			t.Errorf("%s: the device is not as large as the link: %s", what, have)
		}
		w.Must(w.call("DEL", config))
	}
}

// TestPassesFrames: the smallest rate lets a packet of full size pass, both ways.
func TestPassesFrames(t *testing.T) {
	kerneltest.Needs(t, "shaping")
	for _, mtu := range []int{1500, 9000} {
		t.Run(fmt.Sprint(mtu), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			// Without a packet of IPv6's own, for which there would be no room besides.
			w.Run(fmt.Sprintf(`ip link set host0 down; pod ip link set eth0 down
				sysctl -qw net.ipv6.conf.host0.disable_ipv6=1; pod sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1
				ip link set host0 up mtu %d; pod ip link set eth0 up mtu %[1]d
				ip addr add 10.1.2.1/24 dev host0; pod ip addr add 10.1.2.3/24 dev eth0
				mac() { sed -n 's,.*link/ether \([^ ]*\) .*,\1,p'; }
				ip neigh add 10.1.2.3 lladdr $(pod ip link show eth0 | mac) dev host0
				pod ip neigh add 10.1.2.1 lladdr $(ip link show host0 | mac) dev eth0
				until ip link show host0 | grep -q 'state UP' && pod ip link show eth0 | grep -q 'state UP'; do sleep 0.05; done`, mtu))
			w.Must(w.call("ADD", conf(`,"ingressRate":8,"ingressBurst":8,"egressRate":8,"egressBurst":8`)))
			if out, err := w.Try(fmt.Sprintf("ping -c3 -i0.3 -W60 -M do -s %d 10.1.2.3", mtu-28)); err != nil {
				t.Errorf("%v\n%s%s", err, out, w.Run("tc -s qdisc show; ip -s link show host0; pod nstat -a; ip neigh; pod ip neigh"))
			}
		})
	}
}
