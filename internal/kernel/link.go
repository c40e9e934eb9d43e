package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/netlink"
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
	// Info and PortInfo are the attributes of its kind, and of its being a port
	// of its master's.
	Info, PortInfo []byte
}

// Up reports whether an administrator wants the link up.
func (l *Link) Up() bool { return l.Flags&unix.IFF_UP != 0 }

// Running reports whether the link has a carrier.
func (l *Link) Running() bool { return l.Flags&unix.IFF_LOWER_UP != 0 }

// Numbers that golang.org/x/sys does not have (linux/if_link.h).
const (
	infoSlaveKind = 4
	infoSlaveData = 5
	operUp        = 6 // IF_OPER_UP
	// skipStats leaves the counters out of an answer (RTEXT_FILTER_SKIP_STATS).
	skipStats = 1 << 3
)

// ifinfo is the header of a message about a link.
func ifinfo(index int, flags, change uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], change)
	return b
}

// BridgeHeader is the header of a message about a link as a bridge's port.
func BridgeHeader(index int) []byte {
	b := ifinfo(index, 0, 0)
	b[0] = unix.AF_BRIDGE
	return b
}

// HeaderIndex is the number of the link that an answer is about, 0 for none.
func HeaderIndex(answer []byte) int {
	if len(answer) < unix.SizeofIfInfomsg {
		return 0
	}
	return int(binary.NativeEndian.Uint32(answer[4:]))
}

// Link finds a link by its name, or another name that it goes by, and remembers
// it for this call. A missing one is os.ErrNotExist.
func (k *Kernel) Link(s Side, name string) (*Link, error) {
	if l := k.links[s][name]; l != nil {
		return l, nil
	}
	by := netlink.String(unix.IFLA_IFNAME, name)
	if len(name) >= unix.IFNAMSIZ {
		by = netlink.String(unix.IFLA_ALT_IFNAME, name)
	}
	l, err := k.look(s, 0, by)
	if err != nil {
		return nil, fmt.Errorf("link %s: %w", name, err)
	}
	k.links[s][name] = l
	return l, nil
}

// LinkAt finds a link by index, as it is now.
func (k *Kernel) LinkAt(s Side, index int) (*Link, error) {
	l, err := k.look(s, index)
	if err != nil {
		return nil, fmt.Errorf("link number %d: %w", index, err)
	}
	k.links[s][l.Name] = l
	return l, nil
}

func (k *Kernel) look(s Side, index int, by ...netlink.Attr) (*Link, error) {
	c, err := k.Conn(s)
	if err != nil {
		return nil, err
	}
	by = append(by, netlink.U32(unix.IFLA_EXT_MASK, skipStats))
	answer, err := c.Get(netlink.Message{Type: unix.RTM_GETLINK, Body: append(ifinfo(index, 0, 0), netlink.Join(by...)...)})
	if err != nil {
		return nil, Cause(err)
	}
	if len(answer) < unix.SizeofIfInfomsg {
		return nil, errors.New("the kernel gave no answer")
	}
	return parseLink(answer), nil
}

// Forget drops what is remembered of a link that has changed or gone.
func (k *Kernel) Forget(s Side, name string) {
	delete(k.links[s], name)
	delete(k.raised[s], name)
}

// Links lists every link of a side. It is for GC and CHECK alone.
func (k *Kernel) Links(s Side) ([]*Link, error) { return k.list(s) }

// Ports lists the links that are enslaved to another one. The kernel chooses
// them.
func (k *Kernel) Ports(s Side, master *Link) ([]*Link, error) {
	some, err := k.list(s, netlink.U32(unix.IFLA_MASTER, uint32(master.Index)))
	return slices.DeleteFunc(slices.Clone(some), func(l *Link) bool { return l.Master != master.Index }), err
}

func (k *Kernel) list(s Side, only ...netlink.Attr) ([]*Link, error) {
	c, err := k.Conn(s)
	if err != nil {
		return nil, err
	}
	only = append(only, netlink.U32(unix.IFLA_EXT_MASK, skipStats))
	answers, err := c.Dump(netlink.Message{Type: unix.RTM_GETLINK, Body: append(ifinfo(0, 0, 0), netlink.Join(only...)...)})
	if err != nil {
		return nil, fmt.Errorf("list the %v's links: %w", s, err)
	}
	var out []*Link
	for _, a := range answers {
		if len(a) >= unix.SizeofIfInfomsg {
			out = append(out, parseLink(a))
		}
	}
	return out, nil
}

func parseLink(b []byte) *Link {
	l := &Link{Index: int(binary.NativeEndian.Uint32(b[4:])), Flags: binary.NativeEndian.Uint32(b[8:])}
	for kind, data := range netlink.Attrs(b[unix.SizeofIfInfomsg:]) {
		switch kind {
		case unix.IFLA_IFNAME:
			l.Name = netlink.Text(data)
		case unix.IFLA_IFALIAS:
			l.Alias = netlink.Text(data)
		case unix.IFLA_MTU:
			l.MTU = int(netlink.Uint32(data))
		case unix.IFLA_ADDRESS:
			l.MAC = net.HardwareAddr(data)
		case unix.IFLA_PERM_ADDRESS:
			l.PermMAC = net.HardwareAddr(data)
		case unix.IFLA_OPERSTATE:
			l.Operational = len(data) > 0 && data[0] == operUp
		case unix.IFLA_MASTER:
			l.Master = int(netlink.Uint32(data))
		case unix.IFLA_LINK:
			l.Parent = int(netlink.Uint32(data))
		case unix.IFLA_LINK_NETNSID:
			l.ParentAway = true
		case unix.IFLA_TXQLEN:
			l.TxQLen = int(netlink.Uint32(data))
		case unix.IFLA_LINKINFO:
			l.Kind = netlink.Text(netlink.Find(data, unix.IFLA_INFO_KIND))
			l.Info = netlink.Find(data, unix.IFLA_INFO_DATA)
			l.PortInfo = netlink.Find(data, infoSlaveData)
		}
	}
	return l
}

// CreateLink makes a link of a kind. One of that name that is there already is
// os.ErrExist. The attributes, and what info says of its kind, come true in the
// same message.
func (k *Kernel) CreateLink(s Side, name, kind string, info []netlink.Attr, attrs ...netlink.Attr) error {
	err := k.newLink(s, name, kind, info, attrs...)
	// It is the answer to an unknown kind, to an option that the kernel was built
	// without, and to a link below that cannot carry one.
	if errors.Is(err, unix.EOPNOTSUPP) {
		if missing := k.HasKind(kind); missing != nil {
			return missing
		}
		return fmt.Errorf("a %s as it is wanted is not supported here: %w", kind, err)
	}
	return Cause(err)
}

func (k *Kernel) newLink(s Side, name, kind string, info []netlink.Attr, attrs ...netlink.Attr) error {
	c, err := k.Conn(s)
	if err != nil {
		return err
	}
	linkinfo := []netlink.Attr{netlink.String(unix.IFLA_INFO_KIND, kind)}
	if info != nil {
		linkinfo = append(linkinfo, netlink.Nest(unix.IFLA_INFO_DATA, info...))
	}
	attrs = append(attrs, netlink.String(unix.IFLA_IFNAME, name), netlink.Nest(unix.IFLA_LINKINFO, linkinfo...))
	_, err = c.Request(netlink.Message{
		Type: unix.RTM_NEWLINK, Flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL, Body: append(ifinfo(0, 0, 0), netlink.Join(attrs...)...),
	})
	return err
}

// Rehearse asks for a link of a kind under a name that no link can have, and
// gives what the kernel says to that. Nothing is made, and a module is loaded
// that can be.
func (k *Kernel) Rehearse(kind string, info []netlink.Attr, attrs ...netlink.Attr) error {
	return k.newLink(Host, "no/name", kind, info, attrs...)
}

// kinds are the options of the kernel that links of a kind need, where it is
// not one of the kind's own name.
var kinds = map[string]string{"vlan": "VLAN_8021Q", "vrf": "NET_VRF"}

// HasKind looks whether the kernel has links of a kind. The address of one byte
// keeps it from making the other end of a pair.
func (k *Kernel) HasKind(kind string) error {
	err := k.Rehearse(kind, nil, netlink.Bytes(unix.IFLA_ADDRESS, []byte{0}))
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		option, known := kinds[kind]
		if !known {
			option = strings.ToUpper(kind)
		}
		return fmt.Errorf("this kernel has no links of the kind %s: it needs CONFIG_%s: %w", kind, option, unix.EOPNOTSUPP)
	case errors.Is(err, unix.EPERM):
		return Cause(err)
	}
	return nil // it was refused for another reason
}

// Peer is the other end of a veth pair in CreateLink's info: its attributes.
func Peer(attrs ...netlink.Attr) netlink.Attr {
	const vethInfoPeer = 1 // VETH_INFO_PEER of linux/veth.h
	return netlink.Bytes(vethInfoPeer|unix.NLA_F_NESTED, append(ifinfo(0, 0, 0), netlink.Join(attrs...)...))
}

// PortInfo are attributes of a link as a port of its master's kind.
func PortInfo(kind string, attrs ...netlink.Attr) netlink.Attr {
	return netlink.Nest(unix.IFLA_LINKINFO, netlink.String(infoSlaveKind, kind), netlink.Nest(infoSlaveData, attrs...))
}

// KindInfo are attributes that belong to a link's kind.
func KindInfo(kind string, attrs ...netlink.Attr) netlink.Attr {
	return netlink.Nest(unix.IFLA_LINKINFO, netlink.String(unix.IFLA_INFO_KIND, kind), netlink.Nest(unix.IFLA_INFO_DATA, attrs...))
}

// SetLink changes a link: those of its flags that change names, and attributes,
// all in one message.
func (k *Kernel) SetLink(s Side, l *Link, flags, change uint32, attrs ...netlink.Attr) error {
	c, err := k.Conn(s)
	if err != nil {
		return err
	}
	k.Forget(s, l.Name)
	if l.Index == 0 {
		attrs = append(attrs, netlink.String(unix.IFLA_IFNAME, l.Name))
	}
	_, err = c.Request(netlink.Message{Type: unix.RTM_NEWLINK, Body: append(ifinfo(l.Index, flags, change), netlink.Join(attrs...)...)})
	return Cause(err)
}

// Named is a link of which no more is known than its name, for SetLink.
func Named(name string) *Link { return &Link{Name: name} }

// SetUp brings a link up, with attributes that come true in the same message.
func (k *Kernel) SetUp(s Side, l *Link, attrs ...netlink.Attr) error {
	err := k.SetLink(s, l, unix.IFF_UP, unix.IFF_UP, attrs...)
	if err == nil && l.Index != 0 {
		k.raised[s][l.Name] = l
	}
	return err
}

// Lasting is Link for who asks for what a link's coming up does not change: its
// index and its hardware address.
func (k *Kernel) Lasting(s Side, name string) (*Link, error) {
	if l := k.raised[s][name]; l != nil {
		return l, nil
	}
	return k.Link(s, name)
}

// RemoveLink deletes a link. One that is not there is success.
func (k *Kernel) RemoveLink(s Side, l *Link) error {
	k.Forget(s, l.Name)
	return k.deleteLinks(s, l.Index)
}

// deleteLinks deletes the link with an index, or those with an attribute.
func (k *Kernel) deleteLinks(s Side, index int, attrs ...netlink.Attr) error {
	c, err := k.Conn(s)
	if err != nil {
		return err
	}
	_, err = c.Request(netlink.Message{Type: unix.RTM_DELLINK, Body: append(ifinfo(index, 0, 0), netlink.Join(attrs...)...)})
	if err = Cause(err); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// RemoveLinks deletes links, however many, in about the time that one takes:
// nearly all of that is a wait for grace periods of RCU, and the links of a group
// wait together (rtnl_group_dellink of the kernel's rtnetlink.c). What is not
// there is success. Calls of RemoveLink at the same time wait together too, as
// the kernel's lock is free by then.
func (k *Kernel) RemoveLinks(s Side, links []*Link) error {
	// People number groups from 0 on. A group of a call that died does no harm.
	group := netlink.U32(unix.IFLA_GROUP, 1<<31|uint32(time.Now().UnixNano()))
	some := false
	for _, l := range links {
		err := k.SetLink(s, l, 0, 0, group)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		some = some || err == nil
	}
	if !some {
		return nil
	}
	return k.deleteLinks(s, 0, group)
}

// Cause gives an error of the kernel the meaning that errors.Is knows: what says
// that there is no such thing is os.ErrNotExist.
func Cause(err error) error {
	switch {
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("there is none: %w", fs.ErrNotExist)
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("this kernel does not support it: %w", err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("it needs CAP_NET_ADMIN: %w", err)
	}
	return err
}
