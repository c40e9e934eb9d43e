package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/state/name"
)

// captured is a packet socket that keeps what is sent.
type captured struct {
	net.PacketConn
	packet []byte
}

func (c *captured) WriteTo(b []byte, _ net.Addr) (int, error) {
	c.packet = b
	return len(b), nil
}

// TestPacket: packets are as others build them, and their checksums come out even.
func TestPacket(t *testing.T) {
	four := releaseMessage{protocol: unix.ETH_P_IP, from: netip.MustParseAddrPort("10.9.0.50:68"), to: netip.MustParseAddrPort("10.9.0.1:67")}
	six := releaseMessage{protocol: unix.ETH_P_IPV6, from: netip.MustParseAddrPort("[fe80::1]:546"), to: netip.MustParseAddrPort("[ff02::1:2]:547")}
	for _, payload := range []string{"odd", "even"} {
		four.payload, six.payload = []byte(payload), []byte(payload)
		var theirs captured
		conn := nclient4.NewBroadcastUDPConn(&theirs, net.UDPAddrFromAddrPort(four.from))
		if _, err := conn.WriteTo(four.payload, net.UDPAddrFromAddrPort(four.to)); err != nil {
			t.Fatal(err)
		}
		if got := four.packet(); !bytes.Equal(got, theirs.packet) {
			t.Errorf("%x\n%x", got, theirs.packet)
		}
		const header = 40
		b := six.packet()
		pseudo := append([]byte{0, unix.IPPROTO_UDP, 0, byte(8 + len(payload))}, b[8:]...)
		if len(b) != header+8+len(payload) || int(b[5]) != len(b)-header || checksum(pseudo) != 0 {
			t.Errorf("%x", b)
		}
	}
}

// FuzzARP: whatever comes by, nothing is read beyond it.
func FuzzARP(f *testing.F) {
	own := netip.MustParseAddr("10.9.0.1")
	f.Add(arpRequest(net.HardwareAddr{2, 0, 0, 0, 0, 1}, own, own))
	f.Add(arpHead)
	f.Fuzz(func(t *testing.T, b []byte) {
		if arpOwner(b, own) != nil && len(b) < 28 {
			t.Error("half an ARP packet")
		}
	})
}

// TestAsk: a message is sent again until its answer comes among others, and the
// socket can be sent from later on. What ends the wait is told apart.
func TestAsk(t *testing.T) {
	open := func() net.PacketConn {
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	c, server := open(), open()
	heard := make(chan string, 10)
	go func() {
		b := make([]byte, 100)
		for n := 1; ; n++ {
			size, from, err := server.ReadFrom(b)
			if err != nil {
				return
			}
			heard <- string(b[:size])
			if n == 2 { // the first is lost
				_, _ = server.WriteTo([]byte("else"), from)
				_, _ = server.WriteTo([]byte("answer"), from)
			}
		}
	}()
	soon := Patience{ResendMax: 20 * time.Millisecond}
	text := func(text string) func(time.Duration) []byte {
		return func(time.Duration) []byte { return []byte(text) }
	}
	read := func(b []byte) (*string, error) {
		got := string(b)
		switch got {
		case "answer":
			return &got, nil
		case "no":
			return nil, ErrRefused
		}
		return nil, nil
	}
	if got, err := ask(t.Context(), soon, c, server.LocalAddr(), text("question"), read); err != nil || *got != "answer" {
		t.Fatal(err)
	}
	for len(heard) > 0 {
		<-heard
	}
	time.Sleep(2 * soon.ResendMax) // the last sending's time is over
	if _, err := c.WriteTo([]byte("later"), server.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	for <-heard != "later" {
	}
	short, cancel := context.WithTimeout(t.Context(), soon.ResendMax)
	defer cancel()
	if _, err := ask(short, soon, c, server.LocalAddr(), text("question"), read); err != ErrSilent {
		t.Errorf("nobody answers: %v", err)
	}
	given, giveUp := context.WithCancel(t.Context())
	time.AfterFunc(soon.ResendMax, giveUp)
	if _, err := ask(given, Patience{ResendMax: time.Hour}, c, server.LocalAddr(), text("question"), read); err != context.Canceled {
		t.Errorf("nobody waits: %v", err)
	}
	if _, err := server.WriteTo([]byte("no"), c.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(t.Context(), soon, c, server.LocalAddr(), text("question"), read); err != ErrRefused {
		t.Errorf("a refusal: %v", err)
	}
}

func TestClientID(t *testing.T) {
	at := name.Attachment{Network: "net", ContainerID: "c1", IfName: "eth0"}
	if got := ClientID(at); string(got) != "\x00c1/net/eth0" {
		t.Errorf("%q", got)
	}
	at.ContainerID = strings.Repeat("x", 300)
	if got := ClientID(at); len(got) != 255 {
		t.Errorf("%d bytes", len(got))
	}
	if one, two := NewSix(at, Patience{}), NewSix(name.Attachment{Network: "net", ContainerID: "c2", IfName: "eth0"}, Patience{}); one.duid.Equal(two.duid) {
		t.Error("two containers have one DUID")
	}
}

func TestAsked(t *testing.T) {
	for _, c := range []struct {
		own  []uint8
		skip bool
		want string
	}{
		{nil, false, "[121 1 3 33 6 15 119 26 42 51 58 59]"},
		{[]uint8{3, 43}, false, "[3 43 121 1 33 6 15 119 26 42 51 58 59]"},
		{[]uint8{43}, true, "[43]"},
	} {
		if got := fmt.Sprint(Asked(c.own, c.skip)); got != c.want {
			t.Errorf("%v %t: %s", c.own, c.skip, got)
		}
	}
	for text, want := range map[string]uint8{"host-name": 12, "user-class": 77, "1": 1, "254": 254} {
		if got, err := Option(text); got != want || err != nil {
			t.Errorf("%s: %d %v", text, got, err)
		}
	}
}

// ack is an acknowledgement, with more options than the least.
func ack(t *testing.T, more ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithYourIP(net.IPv4(10, 9, 0, 50)), dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithLeaseTime(600),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 9, 0, 1))), dhcpv4.WithMessageType(dhcpv4.MessageTypeAck),
	}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	read, err := dhcpv4.FromBytes(m.ToBytes())
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func generic(code uint8, value ...byte) dhcpv4.Modifier {
	return dhcpv4.WithGeneric(dhcpv4.GenericOptionCode(code), value)
}

// TestRoutes: the classless ones alone where there are some (RFC 3442), or the
// classful ones and the router's.
func TestRoutes(t *testing.T) {
	router := generic(3, 10, 9, 0, 1)
	classful := generic(33, 172, 16, 0, 0, 10, 9, 0, 2, 192, 0, 2, 7, 10, 9, 0, 3, 0, 0, 0, 0, 10, 9, 0, 4)
	for want, options := range map[string][]dhcpv4.Modifier{
		"[]":                     nil,
		"[{0.0.0.0/0 10.9.0.1}]": {router},
		"[{172.16.0.0/16 10.9.0.2} {192.0.2.0/24 10.9.0.3} {0.0.0.0/0 10.9.0.1}]": {router, classful},
		"[{10.20.0.0/16 10.9.0.5} {10.21.0.0/16 invalid IP}]":                     {router, classful, generic(121, 16, 10, 20, 10, 9, 0, 5, 16, 10, 21, 0, 0, 0, 0)},
	} {
		l, err := leaseOf(ack(t, options...), nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(l.Routes); got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}

// TestHostileServer: what a server says is held against what it can be.
func TestHostileServer(t *testing.T) {
	for words, change := range map[string]dhcpv4.Modifier{
		"no interface can have":  dhcpv4.WithYourIP(net.IPv4(224, 0, 0, 1)),
		"255.255.255.255, which": dhcpv4.WithYourIP(net.IPv4bcast),
		"127.0.0.1, which":       dhcpv4.WithYourIP(net.IPv4(127, 0, 0, 1)),
		"without a subnet mask":  dhcpv4.WithoutOption(dhcpv4.OptionSubnetMask),
		"subnet mask (option 1)": generic(1, 255, 0, 255, 0),
		"which is too short":     dhcpv4.WithLeaseTime(0),
		"does not say who it is": dhcpv4.WithoutOption(dhcpv4.OptionServerIdentifier),
	} {
		if l, err := leaseOf(ack(t, change), nil, time.Now()); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %+v %v", words, l, err)
		}
	}
	evil := "evil.test\nnameserver 192.0.2.66"
	l, err := leaseOf(ack(t, generic(15, []byte(evil)...), generic(26, 0, 20), generic(6, 0, 0, 0, 0), generic(121, 33, 1, 2, 3)), nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if l.Domain != "" || l.MTU != 0 || len(l.DNS) != 0 || len(l.Routes) != 0 {
		t.Errorf("%+v", l)
	}
	if got := names([]string{"a.test", evil, "", "b c", strings.Repeat("x", 300)}); fmt.Sprint(got) != "[a.test]" {
		t.Errorf("%q", got)
	}
}

// TestSchedule: times that a server leaves out or confuses follow from the
// lease's length.
func TestSchedule(t *testing.T) {
	start := time.Unix(1000, 0)
	for _, c := range []struct{ valid, renew, rebind, wantRenew, wantRebind time.Duration }{
		{800, 0, 0, 400, 700}, {800, 100, 200, 100, 200}, {800, 900, 0, 400, 700}, {800, 400, 300, 400, 700}, {800, 750, 760, 750, 760}, {800, 750, 0, 750, 750},
	} {
		var l Lease
		l.schedule(start, c.valid*time.Second, c.renew*time.Second, c.rebind*time.Second, 7.0/8)
		if l.Renew.Sub(start) != c.wantRenew*time.Second || l.Rebind.Sub(start) != c.wantRebind*time.Second || l.Expire.Sub(start) != c.valid*time.Second {
			t.Errorf("%v: %v %v %v", c, l.Renew.Sub(start), l.Rebind.Sub(start), l.Expire.Sub(start))
		}
	}
	var l Lease
	if l.schedule(start, forever, 5, 6, 0.8); !l.Expire.IsZero() || !l.Renew.IsZero() || l.Expired(time.Now()) {
		t.Errorf("a lease for good: %+v", l)
	}
}

// TestLeaseText: a lease is the same when it comes back from disk.
func TestLeaseText(t *testing.T) {
	l, err := leaseOf(ack(t, generic(3, 10, 9, 0, 1), generic(42, 10, 9, 0, 4)), net.HardwareAddr{2, 0, 0, 0, 0, 1}, time.Unix(1000, 0).UTC())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(l)
	var back Lease
	if err == nil {
		err = json.Unmarshal(text, &back)
	}
	if err != nil || !reflect.DeepEqual(*l, back) || !bytes.Contains(text, []byte(`"serverMAC":"02:00:00:00:00:01"`)) {
		t.Errorf("%v:\n%s\n%+v\n%+v", err, text, l, back)
	}
}
