package addr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/netlink"
)

// Kept is an address that an interface has, written down so that the interface
// can get it back.
type Kept struct {
	Prefix    netip.Prefix `json:"prefix"`
	Peer      netip.Addr   `json:"peer,omitzero"`
	Broadcast netip.Addr   `json:"broadcast,omitzero"`
	Label     string       `json:"label,omitempty"`
	Scope     uint8        `json:"scope,omitempty"`
	Flags     uint32       `json:"flags,omitempty"`
	Metric    uint32       `json:"metric,omitempty"`

	// lifetimes are those of a leased address (struct ifa_cacheinfo).
	lifetimes []byte
}

// ownFlags are those that an administrator sets, and not the kernel.
const ownFlags = unix.IFA_F_NODAD | unix.IFA_F_HOMEADDRESS | unix.IFA_F_MANAGETEMPADDR | unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_MCAUTOJOIN

// Keep lists what of a host's link's addresses would be lost with a move: those
// of more than link scope that do not come again by themselves, as leased ones
// and those from router advertisements do.
func Keep(k *kernel.Kernel, l *kernel.Link) ([]Kept, error) {
	return keepAll(k, kernel.Host, l, unix.AF_UNSPEC, func(h held) bool { return h.flags&unix.IFA_F_PERMANENT != 0 })
}

// KeepIPv6 lists what of a pod's link's addresses would be lost with its going
// down: those of IPv6 of more than link scope, leased ones too. Temporary ones
// (RFC 8981) are made anew.
func KeepIPv6(k *kernel.Kernel, l *kernel.Link) ([]Kept, error) {
	return keepAll(k, kernel.Pod, l, unix.AF_INET6, func(h held) bool { return h.flags&unix.IFA_F_TEMPORARY == 0 })
}

func keepAll(k *kernel.Kernel, side kernel.Side, l *kernel.Link, family byte, wanted func(held) bool) ([]Kept, error) {
	c, err := k.Conn(side)
	if err != nil {
		return nil, err
	}
	body := append([]byte{family}, make([]byte, unix.SizeofIfAddrmsg-1)...)
	answers, err := c.Dump(netlink.Message{Type: unix.RTM_GETADDR, Body: body})
	if err != nil {
		return nil, fmt.Errorf("list the addresses of %s: %w", l.Name, err)
	}
	var out []Kept
	for _, a := range answers {
		if len(a) < unix.SizeofIfAddrmsg || int(binary.NativeEndian.Uint32(a[4:])) != l.Index {
			continue
		}
		if held := parse(a); wanted(held) && a[3] < unix.RT_SCOPE_LINK && held.prefix.IsValid() {
			out = append(out, keep(l.Name, held, a[3], a[unix.SizeofIfAddrmsg:]))
		}
	}
	return out, nil
}

func keep(link string, h held, scope uint8, attrs []byte) Kept {
	out := Kept{
		Prefix: h.prefix, Scope: scope, Flags: h.flags & ownFlags,
		Metric: netlink.Uint32(netlink.Find(attrs, unix.IFA_RT_PRIORITY)),
	}
	if h.flags&unix.IFA_F_PERMANENT == 0 {
		out.lifetimes = netlink.Find(attrs, unix.IFA_CACHEINFO)
	}
	if label := netlink.Text(netlink.Find(attrs, unix.IFA_LABEL)); label != link {
		out.Label = label
	}
	if peer, _ := netip.AddrFromSlice(netlink.Find(attrs, unix.IFA_ADDRESS)); peer != h.prefix.Addr() {
		out.Peer = peer
	}
	out.Broadcast, _ = netip.AddrFromSlice(netlink.Find(attrs, unix.IFA_BROADCAST))
	return out
}

// Give gives a side's link the address. That it has it already is success.
func (a Kept) Give(k *kernel.Kernel, side kernel.Side, l *kernel.Link) error {
	c, err := k.Conn(side)
	if err != nil {
		return err
	}
	local := a.Prefix.Addr()
	far := local
	if a.Peer.IsValid() {
		far = a.Peer
	}
	attrs := []netlink.Attr{
		netlink.Bytes(unix.IFA_LOCAL, local.AsSlice()), netlink.Bytes(unix.IFA_ADDRESS, far.AsSlice()),
		netlink.U32(unix.IFA_FLAGS, a.Flags),
	}
	if a.Broadcast.IsValid() {
		attrs = append(attrs, netlink.Bytes(unix.IFA_BROADCAST, a.Broadcast.AsSlice()))
	}
	if a.Label != "" {
		attrs = append(attrs, netlink.String(unix.IFA_LABEL, a.Label))
	}
	if a.Metric != 0 {
		attrs = append(attrs, netlink.U32(unix.IFA_RT_PRIORITY, a.Metric))
	}
	if a.lifetimes != nil {
		attrs = append(attrs, netlink.Bytes(unix.IFA_CACHEINFO, a.lifetimes))
	}
	h := header(a.Prefix, l.Index)
	h[3] = a.Scope
	_, err = c.Request(netlink.Message{Type: unix.RTM_NEWADDR, Flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL, Body: append(h, netlink.Join(attrs...)...)})
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("address %v: %w", a.Prefix, kernel.Cause(err))
	}
	return nil
}
