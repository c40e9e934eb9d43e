package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"

	"github.com/catena-cni/catena/internal/kernel"
)

// servers4 is every server on the segment.
var servers4 = nclient4.DefaultServers

// Four speaks DHCP for IPv4 (RFC 2131) for one attachment. It is plain data:
// sockets are opened for one exchange, and closed with it.
type Four struct {
	Link string // the pod's interface
	// ID is the client identifier (RFC 2132 section 9.14, RFC 4361).
	ID []byte
	// Provide are options that are sent, and Ask those that are asked for.
	Provide map[uint8][]byte
	Ask     []uint8
	// Broadcast has servers answer to everybody. Where several pods share a
	// hardware address, they have to.
	Broadcast bool
	Patience  Patience
}

// message is one to a server, of a type and with more options.
func (f Four) message(kind dhcpv4.MessageType, mac net.HardwareAddr, more ...dhcpv4.Modifier) (*dhcpv4.DHCPv4, error) {
	m, err := dhcpv4.New(dhcpv4.WithHwAddr(mac), dhcpv4.WithMessageType(kind), dhcpv4.WithBroadcast(f.Broadcast))
	if err != nil {
		return nil, fmt.Errorf("a transaction id: %w", err)
	}
	m.Options[optClientID] = f.ID
	if kind == dhcpv4.MessageTypeDiscover || kind == dhcpv4.MessageTypeRequest {
		m.UpdateOption(dhcpv4.OptMaxMessageSize(1500))
		for code, value := range f.Provide {
			m.Options[code] = value
		}
		if len(f.Ask) > 0 {
			m.Options[dhcpv4.OptionParameterRequestList.Code()] = f.Ask
		}
	} else if id, ok := f.Provide[optClientID]; ok {
		m.Options[optClientID] = id // by which the server knows the lease
	}
	for _, add := range more {
		add(m)
	}
	return m, nil
}

// ask sends a message until an answer of a type comes.
func (f Four) ask(ctx context.Context, c conn, to *net.UDPAddr, m *dhcpv4.DHCPv4, want dhcpv4.MessageType) (*dhcpv4.DHCPv4, error) {
	message := func(elapsed time.Duration) []byte {
		m.NumSeconds = uint16(min(elapsed/time.Second, 1<<16-1))
		return m.ToBytes()
	}
	return ask(ctx, f.Patience, c, to, message, func(b []byte) (*dhcpv4.DHCPv4, error) {
		a, err := dhcpv4.FromBytes(b)
		switch {
		case err != nil, a.OpCode != dhcpv4.OpcodeBootReply, a.TransactionID != m.TransactionID, !bytes.Equal(a.ClientHWAddr, m.ClientHWAddr):
			return nil, nil // somebody else's, or rubbish
		case a.MessageType() == want:
			return a, nil
		case a.MessageType() == dhcpv4.MessageTypeNak && want == dhcpv4.MessageTypeAck:
			return nil, refusal(a)
		}
		return nil, nil
	})
}

// refusal is what a DHCPNAK says.
func refusal(nak *dhcpv4.DHCPv4) error {
	if why := nak.Message(); why != "" {
		return fmt.Errorf("%w: %.100q", ErrRefused, why)
	}
	return ErrRefused
}

// upLink finds the pod's interface, and brings it up where nobody has yet.
func upLink(k *kernel.Kernel, name string) (*kernel.Link, error) {
	l, err := k.Link(kernel.Pod, name)
	if err != nil || l.Up() {
		return l, err
	}
	if err := k.SetUp(kernel.Pod, l); err != nil {
		return nil, fmt.Errorf("bring %s up: %w", name, err)
	}
	return k.Link(kernel.Pod, name)
}

// Acquire is Client's.
func (f Four) Acquire(ctx context.Context, k *kernel.Kernel, wish netip.Addr) (*Lease, error) {
	l, err := upLink(k, f.Link)
	if err != nil {
		return nil, err
	}
	if len(l.MAC) != 6 {
		return nil, fmt.Errorf("%s has no Ethernet address", f.Link)
	}
	if l.Kind == "ipvlan" {
		f.Broadcast = true // its address is its master's, and the kernel tells pods apart by address only
	}
	c, err := openBroadcast(k, l)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return again(ctx, f.Patience, wish, func(wish netip.Addr) (*Lease, error) { return f.try(ctx, k, c, wish) })
}

// try goes from DISCOVER to an address that nobody has.
func (f Four) try(ctx context.Context, k *kernel.Kernel, c broadcastConn, wish netip.Addr) (*Lease, error) {
	offer, err := f.discover(ctx, c, wish)
	if err != nil {
		return nil, fmt.Errorf("DHCPDISCOVER: %w", err)
	}
	lease, err := f.request(ctx, c, offer)
	if err != nil {
		err = fmt.Errorf("DHCPREQUEST for %v: %w", offer.YourIPAddr, err)
		if ctx.Err() == nil && (errors.Is(err, ErrRefused) || errors.Is(err, ErrSilent)) {
			err = fmt.Errorf("%w: %w", errAgain, err) // the server changed its mind, or is gone
		}
		return nil, err
	}
	address := lease.Address.Addr()
	other, err := probe4(ctx, k, c.link, address)
	if err != nil { // as when nobody waits for the lease any more
		return nil, errors.Join(err, f.Release(k, lease, c.link.MAC, Segment{Index: c.link.Index}))
	}
	if other != nil {
		err := fmt.Errorf("%w: %v is in use by %v", errAgain, address, other)
		return nil, errors.Join(err, f.decline(c, lease))
	}
	_ = Announce(k, f.Link, address) // a courtesy: neighbours find out by themselves
	return lease, nil
}

func (f Four) discover(ctx context.Context, c broadcastConn, wish netip.Addr) (*dhcpv4.DHCPv4, error) {
	m, err := f.message(dhcpv4.MessageTypeDiscover, c.link.MAC)
	if err != nil {
		return nil, err
	}
	if wish.IsValid() {
		m.UpdateOption(dhcpv4.OptRequestedIPAddress(wish.AsSlice()))
	}
	return f.ask(ctx, c, servers4, m, dhcpv4.MessageTypeOffer)
}

// request asks for what was offered.
func (f Four) request(ctx context.Context, c broadcastConn, offer *dhcpv4.DHCPv4) (*Lease, error) {
	m, err := f.message(dhcpv4.MessageTypeRequest, c.link.MAC,
		dhcpv4.WithTransactionID(offer.TransactionID), dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr)),
		dhcpv4.WithOptionCopied(offer, dhcpv4.OptionServerIdentifier))
	if err != nil {
		return nil, err
	}
	step, cancel := f.Patience.step(ctx)
	defer cancel()
	sent := time.Now()
	ack, err := f.ask(step, c, servers4, m, dhcpv4.MessageTypeAck)
	if err != nil {
		return nil, err
	}
	return leaseOf(ack, c.frames.sender, sent)
}

// decline tells the server that somebody else has the address.
func (f Four) decline(c broadcastConn, lease *Lease) error {
	m, err := f.message(dhcpv4.MessageTypeDecline, c.link.MAC,
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(lease.Address.Addr().AsSlice())),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(lease.Server.AsSlice())))
	if err != nil {
		return err
	}
	_, err = c.WriteTo(m.ToBytes(), servers4)
	return err
}

// Extend is Client's.
func (f Four) Extend(ctx context.Context, k *kernel.Kernel, lease *Lease) (*Lease, error) {
	l, err := k.Link(kernel.Pod, f.Link) // which nobody brings up against its owner's will
	if err != nil {
		return nil, err
	}
	address := lease.Address.Addr()
	m, err := f.message(dhcpv4.MessageTypeRequest, l.MAC, dhcpv4.WithClientIP(address.AsSlice()))
	if err != nil {
		return nil, err
	}
	udp, err := listen(k, l, "udp4", fmt.Sprintf(":%d", nclient4.ClientPort))
	if err != nil {
		return nil, err
	}
	defer udp.Close()
	to := servers4
	if time.Now().Before(lease.Rebind) {
		to = &net.UDPAddr{IP: lease.Server.AsSlice(), Port: nclient4.ServerPort}
	}
	step, cancel := f.Patience.step(ctx)
	defer cancel()
	sent := time.Now()
	ack, err := f.ask(step, sourceConn{udp.(*net.UDPConn), address}, to, m, dhcpv4.MessageTypeAck)
	if err != nil {
		return nil, fmt.Errorf("DHCPREQUEST to extend %v: %w", address, err)
	}
	extended, err := leaseOf(ack, nil, sent)
	if err == nil && extended.Server == lease.Server {
		extended.ServerMAC = lease.ServerMAC
	}
	return extended, err
}

// Release is Client's.
func (f Four) Release(k *kernel.Kernel, lease *Lease, mac net.HardwareAddr, segment Segment) error {
	address := lease.Address.Addr()
	m, err := f.message(dhcpv4.MessageTypeRelease, mac, dhcpv4.WithBroadcast(false),
		dhcpv4.WithClientIP(address.AsSlice()), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(lease.Server.AsSlice())))
	if err != nil {
		return err
	}
	destMAC := net.HardwareAddr(lease.ServerMAC)
	if len(destMAC) != 6 {
		destMAC = nclient4.BroadcastMac
	}
	release := releaseMessage{
		from: netip.AddrPortFrom(address, nclient4.ClientPort), to: netip.AddrPortFrom(lease.Server, nclient4.ServerPort),
		mac: mac, destMAC: destMAC, payload: m.ToBytes(),
	}
	if err := release.send(k, f.Link, segment); err != nil {
		return fmt.Errorf("DHCPRELEASE of %v: %w", address, err)
	}
	return nil
}

// leaseOf reads an acknowledgement.
func leaseOf(ack *dhcpv4.DHCPv4, from net.HardwareAddr, sent time.Time) (*Lease, error) {
	ip, _ := netip.AddrFromSlice(ack.YourIPAddr.To4())
	if err := usable(ip); err != nil {
		return nil, err
	}
	ones, bits := ack.SubnetMask().Size()
	if bits != 32 || ones == 0 {
		return nil, fmt.Errorf("the server gave %v without a subnet mask (option 1)", ip)
	}
	server, _ := netip.AddrFromSlice(ack.ServerIdentifier().To4())
	if !server.IsValid() {
		return nil, fmt.Errorf("the server gave %v and does not say who it is (option 54)", ip)
	}
	l := &Lease{
		Address: netip.PrefixFrom(ip, ones), Server: server, ServerMAC: MAC(from),
		DNS: addrs(ack.DNS()), NTP: addrs(ack.NTPServers()), MTU: mtuOf(ack),
	}
	if routers := addrs(ack.Router()); len(routers) > 0 {
		l.Gateway = routers[0]
	}
	if isName(ack.DomainName()) {
		l.Domain = ack.DomainName()
	}
	if search := ack.DomainSearch(); search != nil {
		l.Search = names(search.Labels)
	}
	l.Routes = routesOf(ack, l.Gateway)
	valid := ack.IPAddressLeaseTime(time.Hour)
	if valid < shortest {
		return nil, fmt.Errorf("the server lends %v for %v, which is too short to be extended", ip, valid)
	}
	l.schedule(sent, valid, ack.IPAddressRenewalTime(0), ack.IPAddressRebindingTime(0), 7.0/8)
	return l, nil
}

// mtuMin is the smallest MTU that a server may set (RFC 2132 section 5.1).
const mtuMin = 68

func mtuOf(ack *dhcpv4.DHCPv4) int {
	b := ack.Options.Get(dhcpv4.OptionInterfaceMTU)
	if len(b) != 2 || int(binary.BigEndian.Uint16(b)) < mtuMin {
		return 0
	}
	return int(binary.BigEndian.Uint16(b))
}

// routesOf are the classless routes where there are some, and then nothing else
// counts (RFC 3442); or the classful ones and the router's.
func routesOf(ack *dhcpv4.DHCPv4, gateway netip.Addr) (out []Route) {
	for _, r := range ack.ClasslessStaticRoute() {
		ones, _ := r.Dest.Mask.Size()
		dst, ok := netip.AddrFromSlice(r.Dest.IP.To4())
		via, _ := netip.AddrFromSlice(r.Router.To4())
		if via.IsUnspecified() {
			via = netip.Addr{}
		}
		if ok {
			out = append(out, Route{netip.PrefixFrom(dst, ones).Masked(), via})
		}
	}
	if out != nil {
		return out
	}
	for b := ack.Options.Get(dhcpv4.OptionStaticRoutingTable); len(b) >= 8; b = b[8:] {
		dst, via := netip.AddrFrom4([4]byte(b[:4])), netip.AddrFrom4([4]byte(b[4:8]))
		if bits := classOf(dst); bits > 0 && !dst.IsUnspecified() {
			out = append(out, Route{netip.PrefixFrom(dst, bits).Masked(), via})
		}
	}
	if gateway.IsValid() {
		out = append(out, Route{netip.PrefixFrom(netip.IPv4Unspecified(), 0), gateway})
	}
	return out
}

// classOf is the length of the prefix of an address' class (RFC 791), 0 for
// those of none.
func classOf(a netip.Addr) int {
	switch first := a.As4()[0]; {
	case first < 128:
		return 8
	case first < 192:
		return 16
	case first < 224:
		return 24
	}
	return 0
}
