package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/catena-cni/catena/internal/fact/sysctl"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

const (
	clientPort6 = 546
	serverPort6 = 547
)

// allServers is All_DHCP_Relay_Agents_and_Servers (RFC 8415 section 7.1).
var allServers = netip.AddrPortFrom(netip.MustParseAddr("ff02::1:2"), serverPort6)

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
func (s Six) message(kind dhcpv6.MessageType, server []byte, address netip.Addr, more ...dhcpv6.Option) (*dhcpv6.Message, error) {
	m, err := dhcpv6.NewMessage()
	if err != nil {
		return nil, fmt.Errorf("a transaction id: %w", err)
	}
	m.MessageType = kind
	m.AddOption(dhcpv6.OptClientID(s.duid))
	if server != nil {
		m.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionServerID, OptionData: server})
	}
	ia := &dhcpv6.OptIANA{IaId: s.iaid}
	if address.IsValid() {
		ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: address.AsSlice()})
	}
	m.AddOption(ia)
	for _, o := range more {
		m.AddOption(o)
	}
	return m, nil
}

// wanted are the options that a server is asked for.
func wanted() dhcpv6.Option {
	return dhcpv6.OptRequestedOption(dhcpv6.OptionDNSRecursiveNameServer, dhcpv6.OptionDomainSearchList, dhcpv6.OptionNTPServer, dhcpv6.OptionSNTPServerList)
}

// ask sends a message until an answer comes that is one of kinds.
func (s Six) ask(ctx context.Context, u udp6, m *dhcpv6.Message, kinds ...dhcpv6.MessageType) (*dhcpv6.Message, error) {
	answer, _, err := ask(ctx, s.Patience, u, question[dhcpv6.Message]{
		message: func(elapsed time.Duration) dhcpv6.Message {
			m.UpdateOption(dhcpv6.OptElapsedTime(elapsed))
			return *m
		},
		answers: func(a *dhcpv6.Message) (bool, error) {
			id := a.Options.ClientID()
			if a.TransactionID != m.TransactionID || id == nil || !id.Equal(s.duid) || a.Options.ServerID() == nil {
				return false, nil
			}
			for _, kind := range kinds {
				if a.MessageType == kind && (kind != dhcpv6.MessageTypeReply || kind == kinds[0] || a.GetOneOption(dhcpv6.OptionRapidCommit) != nil) {
					return true, nil
				}
			}
			return false, nil
		},
	})
	return answer, err
}

// ready has IPv6 on the interface.
func (s Six) ready(k *kernel.Kernel) error {
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

// open opens a socket on the interface.
func (s Six) open(ctx context.Context, k *kernel.Kernel) (u udp6, err error) {
	l, err := k.Link(kernel.Pod, s.Link)
	if err != nil {
		return u, err
	}
	if err := awaitLinkLocal(ctx, k, s.Link); err != nil {
		return u, err
	}
	return openUDP6(k, l)
}

// Acquire gets a lease, and waits a moment for a router.
func (s Six) Acquire(ctx context.Context, k *kernel.Kernel, wish netip.Addr) (*Lease, error) {
	if err := s.ready(k); err != nil {
		return nil, err
	}
	u, err := s.open(ctx, k)
	if err != nil {
		return nil, err
	}
	defer u.close()
	asked := time.Now()
	if err := solicitRouters(k, u.link); err != nil {
		return nil, err
	}
	lease, err := again(ctx, s.Patience, func(first bool) (*Lease, error) {
		if !first {
			wish = netip.Addr{}
		}
		return s.try(ctx, k, u, wish)
	})
	if err != nil {
		return nil, err
	}
	if err := awaitRouter(ctx, k, asked.Add(routerWait)); err != nil {
		return nil, errors.Join(err, s.giveUp(k, u, lease))
	}
	return lease, nil
}

// giveUp gives back what nobody waits for any more.
func (s Six) giveUp(k *kernel.Kernel, u udp6, lease *Lease) error {
	return s.Release(k, lease, u.link.MAC, Segment{Index: u.link.Index})
}

// try is one way from Solicit to an address that nobody has.
func (s Six) try(ctx context.Context, k *kernel.Kernel, u udp6, wish netip.Addr) (*Lease, error) {
	m, err := s.message(dhcpv6.MessageTypeSolicit, nil, wish, wanted(), &dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit})
	if err != nil {
		return nil, err
	}
	sent := time.Now()
	answer, err := s.ask(ctx, u, m, dhcpv6.MessageTypeAdvertise, dhcpv6.MessageTypeReply)
	if err != nil {
		return nil, fmt.Errorf("DHCPv6 Solicit: %w", err)
	}
	if answer.MessageType == dhcpv6.MessageTypeAdvertise {
		offer, err := s.leaseOf(answer, sent)
		if err != nil {
			return nil, fmt.Errorf("%w: DHCPv6 Solicit: %w", errAgain, err)
		}
		if answer, sent, err = s.request(ctx, u, offer); err != nil {
			return nil, err
		}
	}
	lease, err := s.leaseOf(answer, sent)
	if err != nil {
		return nil, fmt.Errorf("%w: DHCPv6 Request: %w", errAgain, err)
	}
	taken, err := probe6(ctx, k, u.link, lease.Address.Addr())
	if err != nil {
		return nil, errors.Join(err, s.giveUp(k, u, lease))
	}
	if taken {
		err := fmt.Errorf("%w: %v is in use by somebody else on the segment", errAgain, lease.Address.Addr())
		return nil, errors.Join(err, s.decline(ctx, u, lease))
	}
	return lease, nil
}

func (s Six) request(ctx context.Context, u udp6, offer *Lease) (*dhcpv6.Message, time.Time, error) {
	m, err := s.message(dhcpv6.MessageTypeRequest, offer.ServerID, offer.Address.Addr(), wanted())
	if err != nil {
		return nil, time.Time{}, err
	}
	step, cancel := context.WithTimeoutCause(ctx, s.Patience.Answer, ErrSilent)
	defer cancel()
	sent := time.Now()
	answer, err := s.ask(step, u, m, dhcpv6.MessageTypeReply)
	if err != nil {
		err = fmt.Errorf("DHCPv6 Request: %w", err)
		if ctx.Err() == nil && errors.Is(err, ErrSilent) {
			err = fmt.Errorf("%w: %w", errAgain, err)
		}
	}
	return answer, sent, err
}

// decline tells the server that somebody else has the address. It answers, or
// not: for the pod another address is what counts.
func (s Six) decline(ctx context.Context, u udp6, lease *Lease) error {
	m, err := s.message(dhcpv6.MessageTypeDecline, lease.ServerID, lease.Address.Addr())
	if err != nil {
		return err
	}
	step, cancel := context.WithTimeoutCause(ctx, time.Second, ErrSilent)
	defer cancel()
	if _, err := s.ask(step, u, m, dhcpv6.MessageTypeReply); err != nil && !errors.Is(err, ErrSilent) {
		return fmt.Errorf("DHCPv6 Decline: %w", err)
	}
	return nil
}

// Extend is Client's.
func (s Six) Extend(ctx context.Context, k *kernel.Kernel, lease *Lease) (*Lease, error) {
	u, err := s.open(ctx, k)
	if err != nil {
		return nil, err
	}
	defer u.close()
	kind, server := dhcpv6.MessageTypeRenew, lease.ServerID
	if !time.Now().Before(lease.Rebind) {
		kind, server = dhcpv6.MessageTypeRebind, nil
	}
	m, err := s.message(kind, server, lease.Address.Addr(), wanted())
	if err != nil {
		return nil, err
	}
	step, cancel := context.WithTimeoutCause(ctx, s.Patience.Answer, ErrSilent)
	defer cancel()
	sent := time.Now()
	answer, err := s.ask(step, u, m, dhcpv6.MessageTypeReply)
	if err != nil {
		return nil, fmt.Errorf("DHCPv6 %v of %v: %w", kind, lease.Address.Addr(), err)
	}
	return s.leaseOf(answer, sent)
}

// Release is Client's. A server knows a client by what it says, not by where it
// comes from, so it comes from the pod's link-local address either way.
func (s Six) Release(k *kernel.Kernel, lease *Lease, mac net.HardwareAddr, segment Segment) error {
	m, err := s.message(dhcpv6.MessageTypeRelease, lease.ServerID, lease.Address.Addr(), dhcpv6.OptElapsedTime(0))
	if err != nil {
		return err
	}
	bye := farewell{mac: mac, to: multicastMAC(allServers.Addr()), datagram: datagram{
		from: netip.AddrPortFrom(linkLocal(mac), clientPort6), to: allServers, payload: m.ToBytes(),
	}}
	if err := bye.send(k, s.Link, segment); err != nil {
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

// multicastMAC is where packets to a multicast address go on Ethernet (RFC 2464
// section 7).
func multicastMAC(a netip.Addr) net.HardwareAddr {
	b := a.As16()
	return binary.BigEndian.AppendUint32(net.HardwareAddr{0x33, 0x33}, binary.BigEndian.Uint32(b[12:]))
}
