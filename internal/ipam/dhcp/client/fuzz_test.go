package client

import (
	"encoding/json"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// holdsWell looks at a lease that was taken of a server's answer: it can be used, its
// times come one after the other, nothing in it ends a line, and it is kept as it is.
func holdsWell(t *testing.T, l *Lease, sent time.Time) {
	t.Helper()
	if err := usable(l.Address.Addr()); err != nil || !l.Address.IsValid() {
		t.Errorf("%v: %v", l.Address, err)
	}
	if !l.Expire.IsZero() && (!l.Renew.After(sent) || l.Rebind.Before(l.Renew) || l.Expire.Before(l.Rebind)) {
		t.Errorf("sent %v, renew %v, rebind %v, expire %v", sent, l.Renew, l.Rebind, l.Expire)
	}
	for _, name := range append(l.Search, l.Domain) {
		if name != "" && !isName(name) {
			t.Errorf("%q is no name", name)
		}
	}
	for _, r := range l.Routes {
		if !r.Dst.IsValid() || r.Dst != r.Dst.Masked() {
			t.Errorf("a route to %v", r.Dst)
		}
	}
	text, err := json.Marshal(l)
	var back Lease
	if err == nil {
		err = json.Unmarshal(text, &back)
	}
	if err != nil || !reflect.DeepEqual(&back, l) {
		t.Errorf("%v: %+v is kept as %+v", err, *l, back)
	}
}

var sent = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// FuzzFour reads answers of IPv4's servers.
func FuzzFour(f *testing.F) {
	for _, more := range [][]dhcpv4.Modifier{
		nil,
		{dhcpv4.WithOption(dhcpv4.OptRouter(net.IP{10, 1, 2, 1})), dhcpv4.WithLeaseTime(3600), dhcpv4.WithOption(dhcpv4.OptDomainName("example.org\nx"))},
		{dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, []byte{5, 120})), dhcpv4.WithLeaseTime(0xffffffff)},
		{dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(&dhcpv4.Route{Dest: &net.IPNet{IP: net.IP{10, 7, 0, 0}, Mask: net.CIDRMask(16, 32)}, Router: net.IP{0, 0, 0, 0}})), dhcpv4.WithLeaseTime(1)},
		{dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionStaticRoutingTable, []byte{10, 7, 0, 0, 10, 1, 2, 9, 1})), dhcpv4.WithOption(dhcpv4.OptRenewTimeValue(0)), dhcpv4.WithOption(dhcpv4.OptRebindingTimeValue(time.Hour * 99))},
		{dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionDNSDomainSearchList, []byte{1, 'a', 0xc0, 0})), dhcpv4.WithNetmask(net.IPMask{255, 0, 255, 0})},
	} {
		m, err := dhcpv4.New(append([]dhcpv4.Modifier{
			dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithYourIP(net.IP{10, 1, 2, 3}), dhcpv4.WithNetmask(net.IPMask{255, 255, 255, 0}),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IP{10, 1, 2, 1})),
		}, more...)...)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.ToBytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		kerneltest.Refused(t, refusal(m))
		l, err := leaseOf(m, net.HardwareAddr{2, 0, 0, 0, 0, 1}, sent)
		if !kerneltest.Refused(t, err) {
			holdsWell(t, l, sent)
		}
	})
}

// FuzzSix reads answers of IPv6's.
func FuzzSix(f *testing.F) {
	address := func(options ...dhcpv6.Option) *dhcpv6.OptIAAddress {
		return &dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP("fd00:1:2::3"), PreferredLifetime: time.Hour, ValidLifetime: 2 * time.Hour, Options: dhcpv6.AddressOptions{Options: options}}
	}
	status := &dhcpv6.OptStatusCode{StatusCode: iana.StatusNoBinding, StatusMessage: "no\nbinding"}
	for _, options := range []dhcpv6.Options{
		{&dhcpv6.OptIANA{Options: dhcpv6.IdentityOptions{Options: dhcpv6.Options{address()}}}},
		{&dhcpv6.OptIANA{T1: time.Hour, T2: time.Minute, Options: dhcpv6.IdentityOptions{Options: dhcpv6.Options{address(status), address()}}}},
		{&dhcpv6.OptIANA{Options: dhcpv6.IdentityOptions{Options: dhcpv6.Options{status}}}},
		{status},
		{dhcpv6.OptDNS(net.ParseIP("fd00::53"), net.IPv6zero)},
	} {
		m, err := dhcpv6.NewMessage()
		if err != nil {
			f.Fatal(err)
		}
		m.MessageType = dhcpv6.MessageTypeReply
		m.Options.Options = append(options, dhcpv6.OptServerID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}))
		f.Add(m.ToBytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := dhcpv6.MessageFromBytes(b)
		if err != nil || m.Options.ServerID() == nil {
			return // as ask does
		}
		l, err := Six{}.leaseOf(m, sent)
		if !kerneltest.Refused(t, err) {
			holdsWell(t, l, sent)
		}
	})
}
