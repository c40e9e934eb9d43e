package conntrack

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// flow makes the kernel remember a flow from a client's port 1000 to a host's
// address and port that is answered by another address and port.
func flow(s *kerneltest.Sandbox, proto, client, host string, port int, by string, byPort int) {
	more := ""
	if proto == "sctp" {
		more = "--state ESTABLISHED --orig-vtag 1 --reply-vtag 2"
	}
	if proto == "tcp" {
		more = "--state ESTABLISHED"
	}
	s.Run(fmt.Sprintf("conntrack -I -p %s -s %s -d %s --sport 1000 --dport %d -r %s -q %s --reply-port-src %d --reply-port-dst 1000 --timeout 600 %s >/dev/null 2>&1",
		proto, client, host, port, by, client, byPort, more))
}

// left lists the flows that are remembered, by client.
func left(s *kerneltest.Sandbox) (clients []string) {
	for line := range strings.SplitSeq(s.Run("conntrack -L 2>/dev/null"), "\n") {
		if _, after, ok := strings.Cut(line, "src="); ok {
			client, _, _ := strings.Cut(after, " ")
			clients = append(clients, client)
		}
	}
	slices.Sort(clients)
	return clients
}

func tracked(t *testing.T) *kerneltest.Sandbox {
	t.Helper()
	s := kerneltest.New(t)
	s.Run(`ip link add uplink type bridge; ip link set uplink up; ip addr add 192.0.2.2/24 dev uplink; ip addr add 2001:db8::2/64 dev uplink nodad
		ip route add default via 192.0.2.1; ip -6 route add default via 2001:db8::1
		until ip -6 route show table local | grep -q "2001:db8::2 dev"; do sleep 0.05; done`) // the kernel makes that route a moment later
	return s
}

func udp(host, pod string, first, last, podPort uint16) Flow {
	return Flow{unix.IPPROTO_UDP, netip.MustParseAddr(host), first, last, netip.MustParseAddr(pod), podPort}
}

// TestForget: of flows to the host ports those are forgotten that lead
// elsewhere; those of others, and of TCP, are not.
func TestForget(t *testing.T) {
	s := tracked(t)
	for proto, network := range map[string]string{"udp": "1", "sctp": "2", "tcp": "3"} {
		n := "198.51." + network
		flow(s, proto, n+".1", "192.0.2.2", 53, "192.0.2.2", 53)     // the host itself
		flow(s, proto, n+".2", "192.0.2.2", 53, "10.1.2.9", 53)      // a former pod
		flow(s, proto, n+".3", "192.0.2.2", 53, "10.1.2.3", 53)      // this pod
		flow(s, proto, n+".4", "192.0.2.2", 54, "10.1.2.9", 54)      // another port
		flow(s, proto, n+".5", "203.0.113.1", 53, "203.0.113.1", 53) // another host
		flow(s, proto, n+".6", "192.0.2.2", 53, "10.1.2.3", 54)      // this pod's other port
	}
	for i, by := range []string{"2001:db8::2", "fd00::9", "fd00::3"} {
		flow(s, "udp", fmt.Sprintf("2001:db8:1::%d", i+1), "2001:db8::2", 53, by, 53)
	}
	flow(s, "udp", "2001:db8:1::5", "2001:db8:9::1", 53, "2001:db8:9::1", 53)
	all := left(s)
	if len(all) != 22 {
		t.Fatalf("%d flows", len(all))
	}
	flows := []Flow{udp("0.0.0.0", "10.1.2.3", 53, 53, 53), udp("::", "fd00::3", 53, 53, 53)}
	sctp, tcp := flows[0], flows[0]
	sctp.Protocol, tcp.Protocol = unix.IPPROTO_SCTP, unix.IPPROTO_TCP
	if err := Forget(append(flows, sctp, tcp)).Add(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	gone := func(clients ...string) (rest []string) {
		return slices.DeleteFunc(slices.Clone(all), func(c string) bool { return slices.Contains(clients, c) })
	}
	forgotten := []string{"198.51.1.1", "198.51.1.2", "198.51.1.6", "198.51.2.1", "198.51.2.2", "198.51.2.6", "2001:db8:1::1", "2001:db8:1::2"}
	if have, want := left(s), gone(forgotten...); !slices.Equal(have, want) {
		t.Errorf("ADD left %v\nand not %v", have, want)
	}
	ForgetGone(append(flows, sctp, tcp))
	forgotten = append(forgotten, "198.51.1.3", "198.51.2.3", "2001:db8:1::3")
	if have, want := left(s), gone(forgotten...); !slices.Equal(have, want) {
		t.Errorf("DEL left %v\nand not %v", have, want)
	}
}

// TestForgetRange: many ports at once, and a single host's address.
func TestForgetRange(t *testing.T) {
	s := tracked(t)
	s.Run("ip addr add 192.0.2.9/24 dev uplink")
	flow(s, "udp", "198.51.1.1", "192.0.2.2", 5999, "192.0.2.2", 5999)
	flow(s, "udp", "198.51.1.2", "192.0.2.2", 6000, "10.1.2.3", 7000)
	flow(s, "udp", "198.51.1.3", "192.0.2.2", 6001, "10.1.2.3", 7000)
	flow(s, "udp", "198.51.1.4", "192.0.2.2", 6999, "192.0.2.2", 6999)
	flow(s, "udp", "198.51.1.5", "192.0.2.2", 7000, "192.0.2.2", 7000)
	flow(s, "udp", "198.51.1.6", "192.0.2.9", 6500, "192.0.2.9", 6500)
	if err := Forget([]Flow{udp("192.0.2.2", "10.1.2.3", 6000, 6999, 7000)}).Add(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	if have, want := left(s), []string{"198.51.1.1", "198.51.1.2", "198.51.1.5", "198.51.1.6"}; !slices.Equal(have, want) {
		t.Errorf("left %v\nand not %v", have, want)
	}
}

// TestFilter: the kernel gives no more than what is asked for.
func TestFilter(t *testing.T) {
	s := tracked(t)
	flow(s, "udp", "198.51.1.1", "192.0.2.2", 53, "10.1.2.3", 53)
	flow(s, "udp", "198.51.1.2", "192.0.2.2", 54, "10.1.2.4", 53)
	flow(s, "tcp", "198.51.1.3", "192.0.2.2", 53, "10.1.2.3", 53)
	flow(s, "udp", "2001:db8:1::1", "2001:db8::2", 53, "fd00::3", 53)
	flow(s, "udp", "2001:db8:1::2", "2001:db8::2", 54, "fd00::3", 53)
	c, err := wire.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for q, want := range map[question]int{
		{protocol: unix.IPPROTO_UDP}:                       2,
		{protocol: unix.IPPROTO_UDP, port: 53}:             1,
		{protocol: unix.IPPROTO_UDP, six: true, port: 54}:  1,
		{protocol: unix.IPPROTO_TCP, port: 53}:             1,
		{protocol: unix.IPPROTO_SCTP, port: 53}:            0,
		{protocol: unix.IPPROTO_SCTP, six: true, port: 53}: 0,
	} {
		entries, err := q.ask(c)
		if err != nil || len(entries) != want {
			t.Errorf("%+v: %d flows, %v; %d are wanted", q, len(entries), err, want)
		}
	}
}

// FuzzParse reads flows, torn ones too: an end is the address and the port that are told,
// and none where there is no address.
func FuzzParse(f *testing.F) {
	tuple := func(address []byte, port uint16) []byte {
		return wire.Nest(nl.CTA_TUPLE_ORIG, wire.Nest(nl.CTA_TUPLE_IP, wire.Bytes(nl.CTA_IP_V4_DST, address)),
			wire.Nest(nl.CTA_TUPLE_PROTO, wire.Bytes(nl.CTA_PROTO_NUM, []byte{6}), wire.Bytes(nl.CTA_PROTO_DST_PORT, nl.BEUint16Attr(port))))
	}
	f.Add(tuple([]byte{192, 0, 2, 1}, 80), []byte{192, 0, 2, 1}, uint16(80))
	f.Add(tuple([]byte{1}, 0), []byte{}, uint16(0))
	f.Add([]byte{5, 0, 1, 128, 1}, []byte{1}, uint16(1))
	f.Fuzz(func(t *testing.T, answer, address []byte, port uint16) {
		parse(answer)
		if len(address) > 1000 {
			return // no attribute of the kernel's is as long
		}
		a, told := netip.AddrFromSlice(address)
		e := parse(tuple(address, port))
		if want := netip.AddrPortFrom(a, port); e.host.IsValid() != told || told && e.host != want || e.protocol != 6 || e.pod.IsValid() {
			t.Errorf("%v port %d is read as %+v", address, port, e)
		}
	})
}
