package link

import (
	"errors"
	"net"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
)

// What is said about links by nl, since the library's typed calls cannot say it:
//
//   - a veth pair that is born in its places (create): two calls, and a moment
//     in which it is in no bridge
//   - a link that comes up with its alias and without an address of IPv6, or with
//     arp_notify (noAddress, arpNotify): three calls, and none for arp_notify
//   - whether the kernel's bridges tell VLANs apart (noVLANs): no call
//   - the settings of one bridge port (portSettings): a call for each, and a look
//     at the link before, in which the kernel does what it else does beside
//   - the same, read (portAttrs): a list of every port
//
// kernel.SetLink changes several things of a link in one message, such as the
// namespace, name and alias of a device that moves, which is one fact or none.
// kernel.RemoveLinks deletes many links in the time of one.

// create makes a pair with both ends in their places: LinkAdd makes it, and
// puts the host's end into its bridge by a second message. Between the two the
// pod would have a link that leads nowhere, which stays where the plugin dies.
func (v Veth) create(k *kernel.Kernel, mtu, master int) error {
	info, data := infoOf("veth")
	pod := data.AddRtAttr(nl.VETH_INFO_PEER, nil)
	nl.NewIfInfomsgChild(pod, unix.AF_UNSPEC)
	for _, a := range []*nl.RtAttr{kernel.Name(v.Owner.IfName), kernel.MAC(v.mac()), kernel.NetnsFD(k.PodFD())} {
		pod.AddChild(a)
	}
	if mtu != 0 {
		pod.AddChild(kernel.MTU(mtu))
	}
	return k.Created("veth", makeLink(k, kernel.Name(v.Owner.HostLink()), kernel.MAC(v.Owner.MAC("host")), kernel.MTU(mtu),
		kernel.Master(master), kernel.Group(kernel.Newborn(v.Owner.Network)), info))
}

// infoOf is the attribute that says a link's kind, with room for the kind's data.
func infoOf(kind string) (info, data *nl.RtAttr) {
	info = nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(kind))
	return info, info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
}

func makeLink(k *kernel.Kernel, attrs ...*nl.RtAttr) error {
	return k.Change(kernel.Host, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, nl.NewIfInfomsg(unix.AF_UNSPEC), attrs...)
}

// noAddress spares a link the IPv6 address that the kernel gives to each that
// comes up, once it has a carrier, which the other end's coming up gives it. A
// bridge's port has no use for one, and its routes make the end of the link wait
// for one more grace period of RCU. It comes with the link's coming up: a
// message before would be one more wait for the kernel's lock for each pod.
func noAddress() *nl.RtAttr {
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC|unix.NLA_F_NESTED, nil)
	spec.AddRtAttr(unix.AF_INET6|unix.NLA_F_NESTED, nil).AddRtAttr(unix.IFLA_INET6_ADDR_GEN_MODE, nl.Uint8Attr(nl.IN6_ADDR_GEN_MODE_NONE))
	return spec
}

// arpNotify sets arp_notify in the message that brings the link up, and not
// through /proc/sys: there the kernel looks through what it remembers of every
// pod's.
func arpNotify() *nl.RtAttr {
	const notify = 22 // IPV4_DEVCONF_ARP_NOTIFY of linux/ip.h
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC|unix.NLA_F_NESTED, nil)
	conf := spec.AddRtAttr(unix.AF_INET|unix.NLA_F_NESTED, nil).AddRtAttr(unix.IFLA_INET_CONF|unix.NLA_F_NESTED, nil)
	conf.AddRtAttr(notify, nl.Uint32Attr(1))
	return spec
}

// setUp brings a link up, with what some kernels have no family for: then
// without it.
func setUp(k *kernel.Kernel, side kernel.Side, l *kernel.Link, ofFamily *nl.RtAttr, attrs ...*nl.RtAttr) error {
	err := k.SetUp(side, l, append(attrs, ofFamily)...)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		err = k.SetUp(side, l, attrs...)
	}
	return err
}

// noVLANs looks whether the kernel's bridges can tell VLANs apart, where there
// is none yet: only those that can refuse a protocol of tags that there is not.
func noVLANs(k *kernel.Kernel) error {
	info, data := infoOf("bridge")
	data.AddRtAttr(nl.IFLA_BR_VLAN_PROTOCOL, nl.Uint16Attr(1))
	err := makeLink(k, kernel.Name(kernel.NoName), info)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EPERM) {
		return nil
	}
	return errNoVLANFiltering
}

// portSettings switches on what a port of a bridge is to be.
func portSettings(hairpin, isolated bool) *nl.RtAttr {
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	port := info.AddRtAttr(nl.IFLA_INFO_SLAVE_DATA, nil)
	if hairpin {
		port.AddRtAttr(nl.IFLA_BRPORT_MODE, nl.Uint8Attr(1))
	}
	if isolated {
		port.AddRtAttr(nl.IFLA_BRPORT_ISOLATED, nl.Uint8Attr(1))
	}
	return info
}

// portAttrs are the settings of a bridge's port (IFLA_BRPORT_*): the library
// asks for those of every port on the host.
func portAttrs(k *kernel.Kernel, port string) (settings map[int]bool, err error) {
	answers, err := k.Ask(kernel.Host, unix.RTM_GETLINK, 0, nl.NewIfInfomsg(unix.AF_UNSPEC), kernel.Name(port))
	settings = map[int]bool{}
	for _, answer := range answers {
		attrs, _ := kernel.Attrs(inner(inner(answer[unix.SizeofIfInfomsg:], unix.IFLA_LINKINFO), nl.IFLA_INFO_SLAVE_DATA))
		for _, a := range attrs {
			settings[int(a.Attr.Type)] = len(a.Value) == 1 && a.Value[0] != 0
		}
	}
	return settings, err
}

// inner is what is inside of the attribute of a kind.
func inner(b []byte, kind uint16) []byte {
	attrs, _ := kernel.AttrsByKind(b)
	return attrs[kind].Value
}

// randomMAC is an address that no maker gives away.
func randomMAC() net.HardwareAddr {
	m := make(net.HardwareAddr, 6)
	_, _ = unix.Getrandom(m, 0) // it never fails for six bytes: getrandom(2)
	m[0] = m[0]&^0x01 | 0x02
	return m
}
