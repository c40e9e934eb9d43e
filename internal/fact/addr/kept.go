package addr

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
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

// ownFlags are the flags that an administrator sets, not the kernel.
const ownFlags = unix.IFA_F_NODAD | unix.IFA_F_HOMEADDRESS | unix.IFA_F_MANAGETEMPADDR | unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_MCAUTOJOIN

// Keep lists the addresses of a host's link that a move to another namespace
// would lose: those of more than link scope. Leased ones, and those from router
// advertisements, are left out: they come again by themselves.
func Keep(k *kernel.Kernel, l *kernel.Link) ([]Kept, error) {
	return keep(k, kernel.Host, l, unix.AF_UNSPEC, func(flags uint32) bool { return flags&unix.IFA_F_PERMANENT != 0 })
}

// KeepIPv6 lists the IPv6 addresses of a pod's link that the kernel removes when
// the link goes down: those of more than link scope, leased ones too. Temporary
// ones (RFC 8981) are left out: the kernel makes new ones.
func KeepIPv6(k *kernel.Kernel, l *kernel.Link) ([]Kept, error) {
	return keep(k, kernel.Pod, l, unix.AF_INET6, func(flags uint32) bool { return flags&unix.IFA_F_TEMPORARY == 0 })
}

// keep asks by hand, as Give does: the library's address has no metric.
func keep(k *kernel.Kernel, side kernel.Side, l *kernel.Link, family int, wanted func(flags uint32) bool) ([]Kept, error) {
	answers, err := k.Ask(side, unix.RTM_GETADDR, unix.NLM_F_DUMP, nl.NewIfAddrmsg(family))
	if err != nil {
		return nil, fmt.Errorf("list the addresses of %s: %w", l.Name, err)
	}
	var out []Kept
	for _, a := range answers {
		header := nl.DeserializeIfAddrmsg(a)
		attrs, err := kernel.AttrsByKind(a[header.Len():])
		if err != nil {
			return nil, err
		}
		value := func(kind uint16) []byte { return attrs[kind].Value }
		flags := kernel.Uint32(value(unix.IFA_FLAGS))
		if int(header.Index) != l.Index || header.Scope >= unix.RT_SCOPE_LINK || !wanted(flags) {
			continue
		}
		kept := Kept{Scope: header.Scope, Flags: flags & ownFlags, Metric: kernel.Uint32(value(unix.IFA_RT_PRIORITY))}
		far, _ := netip.AddrFromSlice(value(unix.IFA_ADDRESS))
		near, ok := netip.AddrFromSlice(value(unix.IFA_LOCAL))
		if !ok {
			near = far // as for most of IPv6
		}
		kept.Prefix = netip.PrefixFrom(near, int(header.Prefixlen))
		if far != near {
			kept.Peer = far
		}
		kept.Broadcast, _ = netip.AddrFromSlice(value(unix.IFA_BROADCAST))
		if label := unix.ByteSliceToString(value(unix.IFA_LABEL)); label != l.Name {
			kept.Label = label
		}
		if flags&unix.IFA_F_PERMANENT == 0 {
			kept.lifetimes = value(unix.IFA_CACHEINFO)
		}
		out = append(out, kept)
	}
	return out, nil
}

// Give gives a link the address. It is success where the link has it already.
func (a Kept) Give(k *kernel.Kernel, side kernel.Side, l *kernel.Link) error {
	header := nl.NewIfAddrmsg(family(a.Prefix.Addr()))
	header.Prefixlen, header.Scope, header.Index = uint8(a.Prefix.Bits()), a.Scope, uint32(l.Index)
	far := a.Prefix.Addr()
	if a.Peer.IsValid() {
		far = a.Peer
	}
	err := k.Change(side, unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, header,
		kernel.Attr(unix.IFA_LOCAL, a.Prefix.Addr().AsSlice()), kernel.Attr(unix.IFA_ADDRESS, far.AsSlice()),
		kernel.Attr(unix.IFA_BROADCAST, a.Broadcast.AsSlice()), kernel.Attr(unix.IFA_LABEL, []byte(a.Label)),
		kernel.Number(unix.IFA_FLAGS, a.Flags), kernel.Number(unix.IFA_RT_PRIORITY, a.Metric), kernel.Attr(unix.IFA_CACHEINFO, a.lifetimes))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("address %v: %w", a.Prefix, err)
	}
	return nil
}
