package link

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact/addr"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// Evidence is what is known of an attachment's links when it is detached. The
// path of the pod's namespace may lead to another pod by then, which must lose
// nothing.
type Evidence struct {
	Owner name.Attachment
	// Result is what the result of the attachment says, read when it is needed.
	Result func() Reported
}

// Reported is what a result says of the attachment's links.
type Reported struct {
	// MAC is that of the pod's interface, nil where the result has none.
	MAC net.HardwareAddr
	// Addrs are the pod's addresses.
	Addrs []netip.Prefix
	// Host are the hardware addresses of the host's links by their names.
	Host map[string]string
}

// Verify has the kernel's view tell the attachment's links from another pod's.
func (e Evidence) Verify(k *kernel.Kernel) {
	k.Verify(func(l *kernel.Link) bool {
		owned := e.owns(k, l)
		if !owned {
			fmt.Fprintf(os.Stderr, "catena: nothing says that %s in %s is %s's, and not another pod's: it is left as it is\n", l.Name, k.PodPath(), e.Owner)
		}
		return owned
	})
}

// owns reports whether a link is provably the attachment's. In doubt it is not:
// then it ends with its namespace.
func (e Evidence) owns(k *kernel.Kernel, l *kernel.Link) bool {
	peer := hostPeer(k, l)
	for _, alias := range []string{l.Alias, peer.Alias} {
		switch {
		case alias == e.Owner.Alias():
			return true
		case namesAnother(alias):
			return false
		}
	}
	if l.Flags&unix.IFF_LOOPBACK != 0 {
		return false // all are alike
	}
	if l.MAC.String() == e.Owner.MAC("pod").String() {
		return true
	}
	said := e.Result()
	if mac, known := said.Host[peer.Name]; known && (mac == "" || mac == peer.MAC.String()) {
		return true
	}
	if said.MAC != nil && l.MAC.String() == said.MAC.String() && !sharesMAC(l) {
		// Hardware has one address in whatever pod it is.
		if l.Kind != "" || len(said.Addrs) == 0 {
			return true
		}
	}
	return e.hasAddrs(k, l, said.Addrs)
}

// namesAnother reports whether an alias is that of an attachment.
func namesAnother(alias string) bool { return strings.Count(alias, "/") == 2 }

// hostPeer is the host's end of a pair whose other end a link of the pod is,
// empty where there is none.
func hostPeer(k *kernel.Kernel, l *kernel.Link) *kernel.Link {
	if there, _ := k.StandsOnHost(l); there && l.Kind == "veth" {
		if peer, err := k.LinkAt(kernel.Host, l.Parent); err == nil && peer.Kind == "veth" && peer.Parent == l.Index {
			return peer
		}
	}
	return &kernel.Link{}
}

// sharesMAC reports whether a link has the hardware address of its master, as
// all on that master may.
func sharesMAC(l *kernel.Link) bool {
	switch typed := l.Typed.(type) {
	case *netlink.IPVlan, *netlink.IPVtap, *netlink.Vlan:
		return true
	case *netlink.Macvlan:
		return typed.Mode == netlink.MACVLAN_MODE_PASSTHRU
	case *netlink.Macvtap:
		return typed.Mode == netlink.MACVLAN_MODE_PASSTHRU
	}
	return false
}

// hasAddrs reports whether a link has all addresses of the result.
func (e Evidence) hasAddrs(k *kernel.Kernel, l *kernel.Link, wanted []netip.Prefix) bool {
	have, err := addr.List(k, kernel.Pod, l.Name)
	return err == nil && len(wanted) > 0 && !slices.ContainsFunc(wanted, func(p netip.Prefix) bool { return !slices.Contains(have, p) })
}
