// Package addr is the facts about addresses on interfaces.
package addr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/netlink"
)

// Addr is an address on an interface. It dies with the interface.
type Addr struct {
	Side   kernel.Side
	Link   string
	Prefix netip.Prefix
	// NoPrefixRoute keeps the kernel from adding the subnet's route by itself.
	NoPrefixRoute bool
	// Detect says what becomes of an IPv6 address until the kernel has looked
	// for a duplicate of it.
	Detect Detection
}

// Detection is how duplicates of an IPv6 address are looked for (RFC 4862
// section 5.4). IPv4 addresses have none.
type Detection string

const (
	// Off uses the address at once and does not look, as may be done where the
	// segment is ours.
	Off Detection = ""
	// Wait looks first.
	Wait Detection = "wait"
	// Optimistic uses the address while the kernel looks (RFC 4429).
	Optimistic Detection = "optimistic"
)

func (a Addr) String() string {
	s := fmt.Sprintf("addr %v %s %v", a.Side, a.Link, a.Prefix)
	if a.NoPrefixRoute {
		s += " noprefixroute"
	}
	if a.Detect != Off && a.Prefix.Addr().Is6() {
		s += " dad " + string(a.Detect)
	}
	return s
}

// Add gives the interface the address; one that it has already is an error.
func (a Addr) Add(k *kernel.Kernel) error {
	l, err := k.Link(a.Side, a.Link)
	if err != nil {
		return err
	}
	err = a.send(k, unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, l)
	if a.Prefix.Addr().Is6() && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)) {
		return fmt.Errorf("IPv6 is off there (net/ipv6/conf/%s/disable_ipv6): %w", a.Link, err)
	}
	if err != nil && a.Prefix.Addr().Is6() && l.MTU < MTUMin6 {
		return fmt.Errorf("the mtu of %s is %d, and IPv6 needs %d or more (RFC 8200): %w", a.Link, l.MTU, MTUMin6, err)
	}
	return err
}

// MTUMin6 is the smallest MTU that the kernel has IPv6 on a link with (RFC 8200
// section 5).
const MTUMin6 = 1280

func (a Addr) flags() (f uint32) {
	if a.NoPrefixRoute {
		f |= unix.IFA_F_NOPREFIXROUTE
	}
	switch {
	case a.Prefix.Addr().Is4():
	case a.Detect == Off:
		f |= unix.IFA_F_NODAD
	case a.Detect == Optimistic:
		f |= unix.IFA_F_OPTIMISTIC
	}
	return f
}

// send is a message about the address.
func (a Addr) send(k *kernel.Kernel, kind, flags uint16, l *kernel.Link) error {
	c, err := k.Conn(a.Side)
	if err != nil {
		return err
	}
	ip := a.Prefix.Addr()
	attrs := []netlink.Attr{
		netlink.Bytes(unix.IFA_LOCAL, ip.AsSlice()), netlink.Bytes(unix.IFA_ADDRESS, ip.AsSlice()),
		netlink.U32(unix.IFA_FLAGS, a.flags()),
	}
	if ip.Is4() && a.Prefix.Bits() < 31 {
		attrs = append(attrs, netlink.Bytes(unix.IFA_BROADCAST, broadcast(a.Prefix)))
	}
	body := append(header(a.Prefix, l.Index), netlink.Join(attrs...)...)
	_, err = c.Request(netlink.Message{Type: kind, Flags: flags, Body: body})
	return err
}

// header is struct ifaddrmsg.
func header(p netip.Prefix, index int) []byte {
	h := []byte{family(p.Addr()), byte(p.Bits()), 0, 0}
	return binary.NativeEndian.AppendUint32(h, uint32(index))
}

func family(a netip.Addr) byte {
	if a.Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// broadcast is the last address of an IPv4 subnet.
func broadcast(p netip.Prefix) []byte {
	b := p.Addr().As4()
	for i, m := range net.CIDRMask(p.Bits(), 32) {
		b[i] |= ^m
	}
	return b[:]
}

// Del does nothing: see Addr.
func (a Addr) Del(*kernel.Kernel) error { return nil }

// Remove takes the address from an interface that stays. One that it does not
// have is success.
func (a Addr) Remove(k *kernel.Kernel) error {
	l, err := k.Link(a.Side, a.Link)
	if err != nil {
		return err
	}
	if err := a.send(k, unix.RTM_DELADDR, 0, l); !errors.Is(err, unix.EADDRNOTAVAIL) {
		return err
	}
	return nil
}

// Check looks for the address, and whether it turned out to be a duplicate.
func (a Addr) Check(k *kernel.Kernel) error {
	have, err := list(k, a.Side, a.Link, a.Prefix.Addr().Is6())
	if err != nil {
		return err
	}
	for _, h := range have {
		if h.prefix != a.Prefix {
			continue
		}
		if h.flags&unix.IFA_F_DADFAILED != 0 {
			return errors.New("somebody else on the segment has it too")
		}
		return nil
	}
	return fmt.Errorf("it is not there: %w", fs.ErrNotExist)
}

// held is an address that an interface has.
type held struct {
	prefix netip.Prefix
	flags  uint32
}

// list gives the addresses of one interface in one family.
func list(k *kernel.Kernel, side kernel.Side, link string, six bool) ([]held, error) {
	l, err := k.Link(side, link)
	if err != nil {
		return nil, err
	}
	c, err := k.Conn(side)
	if err != nil {
		return nil, err
	}
	body := header(netip.PrefixFrom(netip.IPv4Unspecified(), 0), l.Index)
	if six {
		body[0] = unix.AF_INET6
	}
	answers, err := c.Dump(netlink.Message{Type: unix.RTM_GETADDR, Body: body})
	if err != nil {
		return nil, fmt.Errorf("list the addresses of %s: %w", link, err)
	}
	var out []held
	for _, a := range answers {
		if len(a) >= unix.SizeofIfAddrmsg && int(binary.NativeEndian.Uint32(a[4:])) == l.Index {
			out = append(out, parse(a))
		}
	}
	return out, nil
}

func parse(b []byte) held {
	attrs := b[unix.SizeofIfAddrmsg:]
	ip := netlink.Find(attrs, unix.IFA_LOCAL)
	if ip == nil {
		ip = netlink.Find(attrs, unix.IFA_ADDRESS)
	}
	a, _ := netip.AddrFromSlice(ip)
	return held{netip.PrefixFrom(a, int(b[1])), netlink.Uint32(netlink.Find(attrs, unix.IFA_FLAGS))}
}
