package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/iana"
	"golang.org/x/sys/unix"

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
func (f Four) message(kind dhcpv4.MessageType, mac net.HardwareAddr, more ...dhcpv4.Option) *dhcpv4.DHCPv4 {
	m := &dhcpv4.DHCPv4{OpCode: dhcpv4.OpcodeBootRequest, HWType: iana.HWTypeEthernet, ClientHWAddr: mac, Options: dhcpv4.Options{optClientID: f.ID}}
	_, _ = rand.Read(m.TransactionID[:]) // which always succeeds
	if f.Broadcast {
		m.SetBroadcast()
	}
	if kind == dhcpv4.MessageTypeDiscover || kind == dhcpv4.MessageTypeRequest {
		m.UpdateOption(dhcpv4.OptMaxMessageSize(nclient4.MaxMessageSize))
		for code, value := range f.Provide {
			m.Options[code] = value
		}
		if len(f.Ask) > 0 {
			m.Options[dhcpv4.OptionParameterRequestList.Code()] = f.Ask
		}
	} else if id, ok := f.Provide[optClientID]; ok {
		m.Options[optClientID] = id // by which the server knows the lease
	}
	for _, o := range append(more, dhcpv4.OptMessageType(kind)) {
		m.UpdateOption(o)
	}
	return m
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

// session4 is over a link that has no address yet.
type session4 struct {
	Four
	k      *kernel.Kernel
	link   *kernel.Link
	conn   net.PacketConn
	frames *frames
}

// Acquire is Client's.
func (f Four) Acquire(ctx context.Context, k *kernel.Kernel, requested netip.Addr) (*Lease, error) {
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
	frames, err := openFrames(k, l)
	if err != nil {
		return nil, err
	}
	defer frames.Close()
	conn := nclient4.NewBroadcastUDPConn(frames, &net.UDPAddr{Port: nclient4.ClientPort})
	lease, err := acquire(ctx, f.Patience, session4{f, k, l, conn, frames}, requested)
	if err == nil {
		_ = Announce(k, f.Link, lease.Address.Addr()) // a courtesy: neighbours find out by themselves
	}
	return lease, err
}

func (s session4) request(ctx context.Context, requested netip.Addr) (*Lease, error) {
	m := s.message(dhcpv4.MessageTypeDiscover, s.link.MAC)
	if requested.IsValid() {
		m.UpdateOption(dhcpv4.OptRequestedIPAddress(requested.AsSlice()))
	}
	offer, err := s.ask(ctx, s.conn, servers4, m, dhcpv4.MessageTypeOffer)
	if err != nil {
		return nil, fmt.Errorf("DHCPDISCOVER: %w", err)
	}
	offered, err := offerOf(offer, s.frames.sender)
	if err != nil {
		return nil, err
	}
	m = s.message(dhcpv4.MessageTypeRequest, s.link.MAC, dhcpv4.OptRequestedIPAddress(offer.YourIPAddr), dhcpv4.OptServerIdentifier(offer.ServerIdentifier()))
	m.TransactionID = offer.TransactionID
	step, cancel := context.WithTimeout(ctx, s.Patience.Answer)
	defer cancel()
	sent := time.Now()
	ack, err := s.ask(step, s.conn, servers4, m, dhcpv4.MessageTypeAck)
	if err != nil { // the server changed its mind, or is gone
		return offered, retryable{fmt.Errorf("DHCPREQUEST for %v: %w", offer.YourIPAddr, err)}
	}
	lease, err := leaseOf(ack, s.frames.sender, sent)
	if err != nil {
		return offered, err
	}
	return lease, nil
}

func (s session4) owner(ctx context.Context, a netip.Addr) (string, error) {
	return probe4(ctx, s.k, s.link, a)
}

func (s session4) decline(_ context.Context, l *Lease) error {
	m := s.message(dhcpv4.MessageTypeDecline, s.link.MAC, dhcpv4.OptRequestedIPAddress(l.Address.Addr().AsSlice()), dhcpv4.OptServerIdentifier(l.Server.AsSlice()))
	_, err := s.conn.WriteTo(m.ToBytes(), servers4)
	return err
}

// Extend is Client's.
func (f Four) Extend(ctx context.Context, k *kernel.Kernel, lease *Lease) (*Lease, error) {
	l, err := k.Link(kernel.Pod, f.Link) // which nobody brings up against its owner's will
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
	address := lease.Address.Addr()
	m := f.message(dhcpv4.MessageTypeRequest, l.MAC)
	m.ClientIPAddr = address.AsSlice()
	step, cancel := context.WithTimeout(ctx, f.Patience.Answer)
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
func (f Four) Release(k *kernel.Kernel, lease *Lease, segment Segment) error {
	address := lease.Address.Addr()
	mac, err := net.ParseMAC(segment.MAC)
	if err != nil {
		return err
	}
	m := f.message(dhcpv4.MessageTypeRelease, mac, dhcpv4.OptServerIdentifier(lease.Server.AsSlice()))
	m.SetUnicast()
	m.ClientIPAddr = address.AsSlice()
	destMAC, err := net.ParseMAC(lease.ServerMAC)
	if err != nil { // as where another server than the first has extended the lease
		destMAC = nclient4.BroadcastMac
	}
	err = releaseMessage{
		protocol: unix.ETH_P_IP, from: netip.AddrPortFrom(address, nclient4.ClientPort), to: netip.AddrPortFrom(lease.Server, nclient4.ServerPort),
		mac: mac, destMAC: destMAC, payload: m.ToBytes(),
	}.send(k, f.Link, segment)
	if err != nil {
		return fmt.Errorf("DHCPRELEASE of %v: %w", address, err)
	}
	return nil
}

// mtuMin is the smallest MTU that a server may set (RFC 2132 section 5.1).
const mtuMin = 68

// offerOf reads the address and the server of a message.
func offerOf(m *dhcpv4.DHCPv4, from net.HardwareAddr) (*Lease, error) {
	ip, _ := netip.AddrFromSlice(m.YourIPAddr.To4())
	if err := usable(ip); err != nil {
		return nil, err
	}
	server, _ := netip.AddrFromSlice(m.ServerIdentifier().To4())
	if !server.IsValid() {
		return nil, fmt.Errorf("the server gave %v and does not say who it is (option 54)", ip)
	}
	return &Lease{Address: netip.PrefixFrom(ip, ip.BitLen()), Server: server, ServerMAC: from.String()}, nil
}

// leaseOf reads an acknowledgement.
func leaseOf(ack *dhcpv4.DHCPv4, from net.HardwareAddr, sent time.Time) (*Lease, error) {
	l, err := offerOf(ack, from)
	if err != nil {
		return nil, err
	}
	ip := l.Address.Addr()
	ones, bits := ack.SubnetMask().Size()
	if bits != 32 || ones == 0 {
		return nil, fmt.Errorf("the server gave %v without a subnet mask (option 1)", ip)
	}
	l.Address, l.DNS, l.NTP = netip.PrefixFrom(ip, ones), addrs(ack.DNS()), addrs(ack.NTPServers())
	if routers := addrs(ack.Router()); len(routers) > 0 {
		l.Gateway = routers[0]
	}
	if mtu, err := dhcpv4.GetUint16(dhcpv4.OptionInterfaceMTU, ack.Options); err == nil && mtu >= mtuMin {
		l.MTU = int(mtu)
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
		if ones, _ := net.IP(b[:4]).DefaultMask().Size(); usable(dst) == nil { // by its class (RFC 791)
			out = append(out, Route{netip.PrefixFrom(dst, ones).Masked(), via})
		}
	}
	if gateway.IsValid() {
		out = append(out, Route{netip.PrefixFrom(netip.IPv4Unspecified(), 0), gateway})
	}
	return out
}
