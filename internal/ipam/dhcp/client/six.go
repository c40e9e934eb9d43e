package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/dhcpv6/nclient6"
	"github.com/insomniacslk/dhcp/iana"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact/sysctl"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// Six speaks DHCPv6 for one attachment: one address of an IA_NA. Routes come by
// router advertisements, which the kernel follows.
type Six struct {
	Link     string
	Patience Patience
	duid     *dhcpv6.DUIDUUID
	iaid     [4]byte
}

// NewSix makes a client whose identity follows from the attachment: a DUID of
// the kind UUID (RFC 6355), so that it is as unique and as stable as that.
func NewSix(at name.Attachment, p Patience) Six {
	id := name.Hash("dhcp duid\x00" + at.String())
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // a UUID of version 8 (RFC 9562)
	iaid := name.Hash("dhcp iaid\x00" + at.IfName)
	return Six{Link: at.IfName, Patience: p, duid: &dhcpv6.DUIDUUID{UUID: id}, iaid: [4]byte(iaid[:4])}
}

// message is one to servers, about an address where one is given.
func (s Six) message(kind dhcpv6.MessageType, server []byte, address netip.Addr, more ...dhcpv6.Modifier) *dhcpv6.Message {
	m := &dhcpv6.Message{MessageType: kind}
	_, _ = rand.Read(m.TransactionID[:]) // which always succeeds
	m.AddOption(dhcpv6.OptClientID(s.duid))
	if server != nil {
		m.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionServerID, OptionData: server})
	}
	dhcpv6.WithIAID(s.iaid)(m)
	if address.IsValid() {
		dhcpv6.WithIANA(dhcpv6.OptIAAddress{IPv6Addr: address.AsSlice()})(m)
	}
	for _, add := range more {
		add(m)
	}
	return m
}

// wanted are the options that a server is asked for.
var wanted = dhcpv6.WithRequestedOptions(dhcpv6.OptionDNSRecursiveNameServer, dhcpv6.OptionDomainSearchList, dhcpv6.OptionNTPServer, dhcpv6.OptionSNTPServerList)

// session6 is over a link's link-local address.
type session6 struct {
	Six
	net.PacketConn
	k    *kernel.Kernel
	link *kernel.Link
}

// open opens a session, as soon as there is an address to send from.
func (s Six) open(ctx context.Context, k *kernel.Kernel) (session6, error) {
	l, err := k.Link(kernel.Pod, s.Link)
	if err != nil {
		return session6{}, err
	}
	if err := awaitLinkLocal(ctx, k, s.Link); err != nil {
		return session6{}, err
	}
	udp, err := listen(k, l, "udp6", fmt.Sprintf(":%d", dhcpv6.DefaultClientPort))
	return session6{s, udp, k, l}, err
}

// ask sends a message until an answer of a type comes.
func (s session6) ask(ctx context.Context, m *dhcpv6.Message, want dhcpv6.MessageType) (*dhcpv6.Message, error) {
	message := func(elapsed time.Duration) []byte {
		m.UpdateOption(dhcpv6.OptElapsedTime(elapsed))
		return m.ToBytes()
	}
	return ask(ctx, s.Patience, s, nclient6.AllDHCPRelayAgentsAndServers, message, func(b []byte) (*dhcpv6.Message, error) {
		a, err := dhcpv6.MessageFromBytes(b)
		if err != nil || a.TransactionID != m.TransactionID || a.MessageType != want {
			return nil, nil // somebody else's, or rubbish
		}
		id := a.Options.ClientID()
		if id == nil || !id.Equal(s.duid) || a.Options.ServerID() == nil {
			return nil, nil
		}
		return a, nil
	})
}

// step sends a message and reads the lease from the reply.
func (s session6) step(ctx context.Context, m *dhcpv6.Message) (*Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Patience.Answer)
	defer cancel()
	sent := time.Now()
	answer, err := s.ask(ctx, m, dhcpv6.MessageTypeReply)
	if err != nil {
		return nil, err
	}
	return s.leaseOf(answer, sent)
}

// Acquire is Client's. It waits a moment for a router.
func (s Six) Acquire(ctx context.Context, k *kernel.Kernel, requested netip.Addr) (*Lease, error) {
	if err := s.enable(k); err != nil {
		return nil, err
	}
	session, err := s.open(ctx, k)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	asked := time.Now()
	if err := solicitRouters(k, session.link); err != nil {
		return nil, err
	}
	lease, err := acquire(ctx, s.Patience, session, requested)
	if err == nil {
		err = awaitRouter(ctx, k, asked.Add(routerWait))
	}
	return lease, err
}

// enable has IPv6 on the interface.
func (s Six) enable(k *kernel.Kernel) error {
	if _, err := upLink(k, s.Link); err != nil {
		return err
	}
	own := "net/ipv6/conf/" + s.Link
	err := sysctl.Setting{Side: kernel.Pod, Pairs: sysctl.Pairs{
		{Key: own + "/disable_ipv6", Value: "0"}, {Key: own + "/accept_ra", Value: "2"}, // also where the pod forwards
	}}.Add(k)
	if err != nil {
		return fmt.Errorf("allow IPv6 on %s: %w", s.Link, err)
	}
	return nil
}

// request asks for an offer, and then for what was offered. It does without Rapid
// Commit (RFC 8415 section 21.14): a server that lends at once, and whose answer is
// lost, keeps an address for nobody, and nobody knows which to give back.
func (s session6) request(ctx context.Context, requested netip.Addr) (*Lease, error) {
	sent := time.Now()
	answer, err := s.ask(ctx, s.message(dhcpv6.MessageTypeSolicit, nil, requested, wanted), dhcpv6.MessageTypeAdvertise)
	if err != nil {
		return nil, fmt.Errorf("DHCPv6 Solicit: %w", err)
	}
	offered, err := s.leaseOf(answer, sent)
	if err != nil {
		return nil, retryable{fmt.Errorf("DHCPv6 Solicit: %w", err)}
	}
	lease, err := s.step(ctx, s.message(dhcpv6.MessageTypeRequest, offered.ServerID, offered.Address.Addr(), wanted))
	if err != nil {
		return offered, retryable{fmt.Errorf("DHCPv6 Request: %w", err)}
	}
	return lease, nil
}

func (s session6) owner(ctx context.Context, a netip.Addr) (string, error) {
	return probe6(ctx, s.k, s.link, a)
}

// decline waits a moment for a server's answer. For the pod another address is
// what counts.
func (s session6) decline(ctx context.Context, l *Lease) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := s.ask(ctx, s.message(dhcpv6.MessageTypeDecline, l.ServerID, l.Address.Addr()), dhcpv6.MessageTypeReply)
	if errors.Is(err, ErrSilent) {
		return nil
	}
	return err
}

// Extend is Client's.
func (s Six) Extend(ctx context.Context, k *kernel.Kernel, lease *Lease) (*Lease, error) {
	session, err := s.open(ctx, k)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	kind, server := dhcpv6.MessageTypeRenew, lease.ServerID
	if !time.Now().Before(lease.Rebind) {
		kind, server = dhcpv6.MessageTypeRebind, nil
	}
	extended, err := session.step(ctx, s.message(kind, server, lease.Address.Addr(), wanted))
	if err != nil {
		return nil, fmt.Errorf("DHCPv6 %v of %v: %w", kind, lease.Address.Addr(), err)
	}
	return extended, nil
}

// Release is Client's. A server knows a client by what it says, not by where it
// comes from, so it comes from the pod's link-local address either way.
func (s Six) Release(k *kernel.Kernel, lease *Lease, segment Segment) error {
	mac, err := net.ParseMAC(segment.MAC)
	if err != nil {
		return err
	}
	m := s.message(dhcpv6.MessageTypeRelease, lease.ServerID, lease.Address.Addr())
	m.AddOption(dhcpv6.OptElapsedTime(0))
	err = releaseMessage{
		protocol: unix.ETH_P_IPV6, from: netip.AddrPortFrom(linkLocal(mac), dhcpv6.DefaultClientPort), to: nclient6.AllDHCPRelayAgentsAndServers.AddrPort(),
		mac: mac, destMAC: net.HardwareAddr{0x33, 0x33, 0, 1, 0, 2}, // of ff02::1:2 (RFC 2464 section 7)
		payload: m.ToBytes(),
	}.send(k, s.Link, segment)
	if err != nil {
		return fmt.Errorf("DHCPv6 Release of %v: %w", lease.Address.Addr(), err)
	}
	return nil
}

// leaseOf reads the address out of an answer. ErrRefused is one that has none.
func (s Six) leaseOf(m *dhcpv6.Message, sent time.Time) (*Lease, error) {
	if err := refused(m.Options.Status()); err != nil {
		return nil, err
	}
	for _, ia := range m.Options.IANA() {
		if ia.IaId != s.iaid {
			continue
		}
		if err := refused(ia.Options.Status()); err != nil {
			return nil, err
		}
		for _, a := range ia.Options.Addresses() {
			ip, _ := netip.AddrFromSlice(a.IPv6Addr)
			if a.ValidLifetime < shortest || refused(a.Options.Status()) != nil || usable(ip) != nil {
				continue
			}
			l := &Lease{
				Address: netip.PrefixFrom(ip, 128), ServerID: m.Options.ServerID().ToBytes(),
				DNS: addrs(m.Options.DNS()), NTP: addrs(append(m.Options.NTPServers(), m.Options.SNTP()...)),
			}
			if search := m.Options.DomainSearchList(); search != nil {
				l.Search = names(search.Labels)
			}
			l.schedule(sent, a.ValidLifetime, ia.T1, ia.T2, 0.8)
			return l, nil
		}
	}
	return nil, fmt.Errorf("%w: it names no address", ErrRefused)
}

func refused(status *dhcpv6.OptStatusCode) error {
	if status == nil || status.StatusCode == iana.StatusSuccess {
		return nil
	}
	err := fmt.Errorf("the server answers %v %.100q", status.StatusCode, status.StatusMessage)
	switch status.StatusCode {
	case iana.StatusNoBinding, iana.StatusNotOnLink, iana.StatusNoAddrsAvail:
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err // which says nothing of the lease
}

// linkLocal is the address that follows from a hardware address (RFC 4291,
// appendix A).
func linkLocal(mac net.HardwareAddr) netip.Addr {
	b := [16]byte{0: 0xfe, 1: 0x80, 11: 0xff, 12: 0xfe}
	if len(mac) == 6 {
		copy(b[8:], mac[:3])
		copy(b[13:], mac[3:])
		b[8] ^= 2
	}
	return netip.AddrFrom16(b)
}
