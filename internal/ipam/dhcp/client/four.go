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
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
)

const (
	clientPort4 = 68
	serverPort4 = 67
)

var everybody = netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), serverPort4)

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
func (f Four) ask(ctx context.Context, c conversation[dhcpv4.DHCPv4], m *dhcpv4.DHCPv4, want dhcpv4.MessageType) (*dhcpv4.DHCPv4, net.HardwareAddr, error) {
	return ask(ctx, f.Patience, c, question[dhcpv4.DHCPv4]{
		message: func(elapsed time.Duration) dhcpv4.DHCPv4 {
			m.NumSeconds = uint16(min(elapsed/time.Second, 1<<16-1))
			return *m
		},
		answers: func(a *dhcpv4.DHCPv4) (bool, error) {
			if a.OpCode != dhcpv4.OpcodeBootReply || a.TransactionID != m.TransactionID || !bytes.Equal(a.ClientHWAddr, m.ClientHWAddr) {
				return false, nil
			}
			if a.MessageType() == dhcpv4.MessageTypeNak && want == dhcpv4.MessageTypeAck {
				return false, refusal(a)
			}
			return a.MessageType() == want, nil
		},
	})
}

// refusal is what a DHCPNAK says.
func refusal(nak *dhcpv4.DHCPv4) error {
	if why := nak.Message(); why != "" {
		return fmt.Errorf("%w: %.100q", ErrRefused, why)
	}
	return ErrRefused
}

// link finds the interface, and brings it up where nobody has yet.
func (f Four) link(k *kernel.Kernel) (*kernel.Link, error) {
	l, err := upLink(k, f.Link)
	if err == nil && len(l.MAC) != 6 {
		err = fmt.Errorf("%s has no Ethernet address", f.Link)
	}
	return l, err
}

// Acquire is Client's.
func (f Four) Acquire(ctx context.Context, k *kernel.Kernel, wish netip.Addr) (*Lease, error) {
	l, err := f.link(k)
	if err != nil {
		return nil, err
	}
	if l.Kind == "ipvlan" {
		f.Broadcast = true // its address is its master's, and the kernel tells pods apart by address only
	}
	s, err := openLink(k, kernel.Pod, l, unix.ETH_P_IP, toClient)
	if err != nil {
		return nil, err
	}
	defer s.close()
	w := wire4{s, l}
	return again(ctx, f.Patience, func(first bool) (*Lease, error) {
		if !first {
			wish = netip.Addr{}
		}
		return f.try(ctx, k, w, wish)
	})
}

// try is one way from DISCOVER to an address that nobody has.
func (f Four) try(ctx context.Context, k *kernel.Kernel, w wire4, wish netip.Addr) (*Lease, error) {
	offer, err := f.discover(ctx, w, wish)
	if err != nil {
		return nil, err
	}
	lease, err := f.request(ctx, w, offer)
	if err != nil {
		return nil, err
	}
	other, err := probe4(ctx, k, w.link, lease.Address.Addr())
	if err != nil { // as when nobody waits for the lease any more
		return nil, errors.Join(err, f.Release(k, lease, w.link.MAC, Segment{Index: w.link.Index}))
	}
	if other != nil {
		err := fmt.Errorf("%w: %v is in use by %v", errAgain, lease.Address.Addr(), other)
		return nil, errors.Join(err, f.decline(w, lease))
	}
	_ = Announce(k, f.Link, lease.Address.Addr()) // a courtesy: neighbours find out by themselves
	return lease, nil
}

func (f Four) discover(ctx context.Context, w wire4, wish netip.Addr) (*dhcpv4.DHCPv4, error) {
	m, err := f.message(dhcpv4.MessageTypeDiscover, w.link.MAC)
	if err != nil {
		return nil, err
	}
	if wish.IsValid() {
		m.UpdateOption(dhcpv4.OptRequestedIPAddress(wish.AsSlice()))
	}
	offer, _, err := f.ask(ctx, w, m, dhcpv4.MessageTypeOffer)
	if err != nil {
		return nil, fmt.Errorf("DHCPDISCOVER: %w", err)
	}
	return offer, nil
}

// request asks for what was offered. A server that has gone silent, or has
// changed its mind, is a reason to begin again.
func (f Four) request(ctx context.Context, w wire4, offer *dhcpv4.DHCPv4) (*Lease, error) {
	m, err := f.message(dhcpv4.MessageTypeRequest, w.link.MAC,
		dhcpv4.WithTransactionID(offer.TransactionID), dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr)),
		dhcpv4.WithOptionCopied(offer, dhcpv4.OptionServerIdentifier))
	if err != nil {
		return nil, err
	}
	step, cancel := context.WithTimeoutCause(ctx, f.Patience.Answer, ErrSilent)
	defer cancel()
	sent := time.Now()
	ack, from, err := f.ask(step, w, m, dhcpv4.MessageTypeAck)
	if err != nil {
		err = fmt.Errorf("DHCPREQUEST for %v: %w", offer.YourIPAddr, err)
		if ctx.Err() == nil && (errors.Is(err, ErrRefused) || errors.Is(err, ErrSilent)) {
			err = fmt.Errorf("%w: %w", errAgain, err)
		}
		return nil, err
	}
	return leaseOf(ack, from, sent)
}

// decline tells the server that somebody else has the address.
func (f Four) decline(w wire4, lease *Lease) error {
	m, err := f.message(dhcpv4.MessageTypeDecline, w.link.MAC,
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(lease.Address.Addr().AsSlice())),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(lease.Server.AsSlice())))
	if err != nil {
		return err
	}
	if err := w.send(*m); err != nil {
		return fmt.Errorf("DHCPDECLINE: %w", err)
	}
	return nil
}

// Extend is Client's.
func (f Four) Extend(ctx context.Context, k *kernel.Kernel, lease *Lease) (*Lease, error) {
	l, err := k.Link(kernel.Pod, f.Link) // which nobody brings up against its owner's will
	if err != nil {
		return nil, err
	}
	w, err := openUDP4(k, l, lease, time.Now().Before(lease.Rebind))
	if err != nil {
		return nil, err
	}
	defer w.close()
	m, err := f.message(dhcpv4.MessageTypeRequest, l.MAC, dhcpv4.WithClientIP(lease.Address.Addr().AsSlice()))
	if err != nil {
		return nil, err
	}
	step, cancel := context.WithTimeoutCause(ctx, f.Patience.Answer, ErrSilent)
	defer cancel()
	sent := time.Now()
	ack, from, err := f.ask(step, w, m, dhcpv4.MessageTypeAck)
	if err != nil {
		return nil, fmt.Errorf("DHCPREQUEST to extend %v: %w", lease.Address.Addr(), err)
	}
	if from == nil {
		from = net.HardwareAddr(lease.ServerMAC)
	}
	return leaseOf(ack, from, sent)
}

// Release is Client's.
func (f Four) Release(k *kernel.Kernel, lease *Lease, mac net.HardwareAddr, segment Segment) error {
	m, err := f.message(dhcpv4.MessageTypeRelease, mac, dhcpv4.WithBroadcast(false),
		dhcpv4.WithClientIP(lease.Address.Addr().AsSlice()), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(lease.Server.AsSlice())))
	if err != nil {
		return err
	}
	bye := farewell{mac: mac, to: net.HardwareAddr(lease.ServerMAC), datagram: datagram{
		from: netip.AddrPortFrom(lease.Address.Addr(), clientPort4), to: netip.AddrPortFrom(lease.Server, serverPort4), payload: m.ToBytes(),
	}}
	if err := bye.send(k, f.Link, segment); err != nil {
		return fmt.Errorf("DHCPRELEASE of %v: %w", lease.Address.Addr(), err)
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
