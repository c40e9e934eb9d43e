package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/state/name"
)

// Link is what the kernel says of an interface.
type Link struct {
	Index int
	Name  string
	// Kind is the kind of a virtual link (veth, bridge, ...), empty for a
	// physical one.
	Kind  string
	Alias string
	MTU   int
	MAC   net.HardwareAddr
	// PermMAC is the address that the hardware came with, if any.
	PermMAC net.HardwareAddr
	// Flags are unix.IFF_*.
	Flags uint32
	// Operational says that packets pass (RFC 2863 ifOperStatus is up).
	Operational bool
	// Master is the index of the link that this one is enslaved to, Parent that
	// of the link that it lies on or, for a veth, of its other end. 0 is none.
	Master, Parent int
	// ParentAway says that the parent is in another namespace.
	ParentAway bool
	TxQLen     int
	// Typed is the library's own view, which has what belongs to the kind alone.
	Typed netlink.Link
}

// Up reports whether an administrator wants the link up.
func (l *Link) Up() bool { return l.Flags&unix.IFF_UP != 0 }

// Running reports whether the link has a carrier.
func (l *Link) Running() bool { return l.Flags&unix.IFF_LOWER_UP != 0 }

// Table is a VRF's routing table, 0 for links of other kinds.
func (l *Link) Table() int {
	if vrf, is := l.Typed.(*netlink.Vrf); is {
		return int(vrf.Table)
	}
	return 0
}

// view makes a Link of the library's.
func view(typed netlink.Link) *Link {
	a := typed.Attrs()
	l := &Link{
		Index: a.Index, Name: a.Name, Kind: typed.Type(), Alias: a.Alias, MTU: a.MTU, MAC: a.HardwareAddr, PermMAC: a.PermHWAddr,
		Flags: a.RawFlags, Operational: a.OperState == netlink.OperUp,
		Master: a.MasterIndex, Parent: a.ParentIndex, ParentAway: a.NetNsID >= 0, TxQLen: a.TxQLen, Typed: typed,
	}
	switch typed.(type) {
	case *netlink.Device:
		l.Kind = ""
	case *netlink.Tuntap:
		l.Kind = "tun" // as the kernel has it
	}
	if l.MAC == nil && l.Flags&unix.IFF_LOOPBACK != 0 {
		l.MAC = make(net.HardwareAddr, 6) // the library takes zeros for no address
	}
	return l
}

// Link finds a link by its name, or another name that it goes by, and remembers
// it for this call. A missing one is fs.ErrNotExist. Whether packets pass is as
// it was at the first look: LinkAt looks again.
func (k *Kernel) Link(s Side, name string) (l *Link, err error) {
	if l := k.links[s][name]; l != nil {
		return l, nil
	}
	l, err = k.look(s, func(h *netlink.Handle) (netlink.Link, error) { return h.LinkByName(name) })
	if err != nil {
		return nil, fmt.Errorf("link %s: %w", name, err)
	}
	k.links[s][name] = l
	return l, nil
}

// LinkAt finds a link by index, as it is now.
func (k *Kernel) LinkAt(s Side, index int) (*Link, error) {
	l, err := k.look(s, func(h *netlink.Handle) (netlink.Link, error) { return h.LinkByIndex(index) })
	if err != nil {
		return nil, fmt.Errorf("link number %d: %w", index, err)
	}
	k.links[s][l.Name] = l
	return l, nil
}

func (k *Kernel) look(s Side, look func(*netlink.Handle) (netlink.Link, error)) (l *Link, err error) {
	err = k.ask(s, func(h *netlink.Handle) error {
		typed, err := look(h)
		if err == nil {
			l = view(typed)
		}
		return err
	})
	return l, err
}

// StandsOnHost reports whether what a link of the pod's lies on, or is paired with,
// is in the host's namespace. Nobody can make such a link from inside the pod: the
// number that the pod's namespace has for the other one is the kernel's.
func (k *Kernel) StandsOnHost(l *Link) (stands bool, err error) {
	if !l.ParentAway {
		return false, nil
	}
	host, err := OpenHostNetns()
	if err != nil {
		return false, err
	}
	defer host.Close()
	err = k.ask(Pod, func(h *netlink.Handle) error {
		id, err := h.GetNetNsIdByFd(int(host.Fd()))
		stands = err == nil && id == l.Typed.Attrs().NetNsID
		return err
	})
	return stands, err
}

// Invalidate drops what is remembered of a link that has changed or gone.
func (k *Kernel) Invalidate(s Side, name string) { delete(k.links[s], name) }

// ParentGone reports whether a link's parent is in a namespace that has ended. The
// kernel takes that apart in its own time, and the link with it.
func (k *Kernel) ParentGone(s Side, l *Link) bool {
	if !l.ParentAway {
		return false
	}
	lo := nl.NewIfInfomsg(unix.AF_UNSPEC) // that namespace's, which each has
	lo.Index = 1
	_, err := k.Ask(s, unix.RTM_GETLINK, 0, lo, Number(unix.IFLA_TARGET_NETNSID, l.Typed.Attrs().NetNsID))
	return errors.Is(err, unix.EINVAL) // no namespace has that number
}

// Owners lists the attachments that are named by the aliases of the host's links,
// as far as a link is one that the attachment has. It dumps every link, so it is
// for GC alone.
func (k *Kernel) Owners(has func(name.Attachment, *Link) bool) (out []name.Attachment, err error) {
	links, err := k.Links(Host)
	for _, l := range links {
		if at, err := name.Parse(l.Alias); err == nil && has(at, l) {
			out = append(out, at)
		}
	}
	return out, err
}

// Links lists every link of a side. It is for GC and CHECK alone.
func (k *Kernel) Links(s Side) (out []*Link, err error) {
	list, err := ListOf(k, s, (*netlink.Handle).LinkList)
	if err != nil {
		return nil, fmt.Errorf("list the %v's links: %w", s, err)
	}
	for _, typed := range list {
		out = append(out, view(typed))
	}
	return out, nil
}

// Ports lists the links that are enslaved to another one.
func (k *Kernel) Ports(s Side, master *Link) (ports []*Link, err error) {
	links, err := k.Links(s)
	for _, l := range links {
		if l.Master == master.Index {
			ports = append(ports, l)
		}
	}
	return ports, err
}

// Create makes a link. One of that name that is there already is fs.ErrExist.
func (k *Kernel) Create(s Side, wanted netlink.Link) error {
	return k.Created(wanted.Type(), k.Call(s, func(h *netlink.Handle) error { return h.LinkAdd(wanted) }))
}

// Created gives the kernel's answer to a new link of a kind its meaning.
// EOPNOTSUPP is the answer to an unknown kind, to an option that the kernel was
// built without, and to a link below that cannot carry one.
func (k *Kernel) Created(kind string, err error) error {
	if errors.Is(err, unix.EOPNOTSUPP) {
		if missing := k.HasKind(kind); missing != nil {
			return missing
		}
		return fmt.Errorf("a %s as it is wanted: %w", kind, err)
	}
	return err
}

// NoName is a name that no link can have: a new link that asks for it is
// refused, and the reason tells what the kernel knows. It loads a module that
// can be loaded.
const NoName = "no/name"

// options are those of the kernel that links of a kind need, where it is not one
// of the kind's own name.
var options = map[string]string{"vlan": "VLAN_8021Q", "vrf": "NET_VRF"}

// HasKind looks whether the kernel has links of a kind. The address of one byte
// keeps it from making the other end of a pair.
func (k *Kernel) HasKind(kind string) error {
	a := netlink.NewLinkAttrs()
	a.Name, a.HardwareAddr = NoName, net.HardwareAddr{0}
	a.ParentIndex = 1 // without one the library does not ask for an ipvlan
	err := k.ask(Host, func(h *netlink.Handle) error { return h.LinkAdd(&netlink.GenericLink{LinkAttrs: a, LinkType: kind}) })
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		option, known := options[kind]
		if !known {
			option = strings.ToUpper(kind)
		}
		return fmt.Errorf("this kernel has no links of the kind %s: it needs CONFIG_%s: %w", kind, option, unix.EOPNOTSUPP)
	case errors.Is(err, unix.EPERM):
		return err
	}
	return nil // it was refused for another reason
}

// SetLink changes a link in one message: those of its flags that change names,
// and attributes. The library's typed calls say one thing each; a fact that is
// several would be half true where the second call fails.
func (k *Kernel) SetLink(s Side, l *Link, flags, change uint32, attrs ...*nl.RtAttr) error {
	k.Invalidate(s, l.Name)
	header := nl.NewIfInfomsg(unix.AF_UNSPEC)
	header.Index, header.Flags, header.Change = int32(l.Index), flags, change
	if l.Index == 0 {
		attrs = append(attrs, Name(l.Name))
	}
	return k.Change(s, unix.RTM_NEWLINK, 0, header, attrs...)
}

// SetUp brings a link up, with attributes that come true in the same message.
func (k *Kernel) SetUp(s Side, l *Link, attrs ...*nl.RtAttr) error {
	err := k.SetLink(s, l, unix.IFF_UP, unix.IFF_UP, attrs...)
	if err == nil && l.Index != 0 {
		l.Flags |= unix.IFF_UP
		k.links[s][l.Name] = l // routes by it need no other look
	}
	return err
}

// cause gives an error of the kernel the meaning that errors.Is knows: what says
// that there is no such thing is fs.ErrNotExist.
func cause(err error) error {
	var missing netlink.LinkNotFoundError
	switch {
	case errors.As(err, &missing), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("there is none: %w", fs.ErrNotExist)
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("this kernel does not support it: %w", err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("it needs CAP_NET_ADMIN: %w", err)
	case errors.Is(err, unix.EAGAIN): // the library's word for a timeout
		return fmt.Errorf("the kernel gave no answer: %w", os.ErrDeadlineExceeded)
	}
	return err
}
