package upstream

import (
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/iptables"
	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/firewall/othertables"
	"github.com/catena-cni/catena/internal/state/name"
	"github.com/catena-cni/catena/internal/upstream/unnamed"
)

// Ports are the host ports of a pod by upstream's portmap: rules of the tables
// ip and ip6 cni_hostport or, for Holds, of iptables.
type Ports struct {
	Owner name.Attachment
	// Addrs are the pod's, where they are known. The rules' comments say no more
	// than the container: with its addresses those of its other networks stay.
	Addrs []netip.Addr
}

// hostports are the tables' chains with rules of pods, of one family each.
var hostports = []chains{ports(unix.NFPROTO_IPV4), ports(unix.NFPROTO_IPV6)}

func ports(family uint8) chains {
	return chains{
		table: wire.Table{Family: family, Name: "cni_hostport"},
		names: []string{"hostports", "hostip_hostports", "masquerading"}, static: []string{"prerouting", "output", "hostports_all"},
	}
}

// Holds looks for a rule that leads to the pod.
func (p Ports) Holds() (bool, error) {
	there, err := iptables.Mapped(p.Owner)
	errs := []error{err}
	for _, c := range hostports {
		have, err := c.have(p.mine)
		there = there || have
		errs = append(errs, err)
	}
	return there, errors.Join(errs...)
}

func (p Ports) mine(r othertables.Rule) bool {
	return r.Comment == p.Owner.ContainerID && (len(p.Addrs) == 0 || slices.ContainsFunc(p.Addrs, func(a netip.Addr) bool { return r.Names(a.AsSlice()) }))
}

// Remove takes the pod's rules of nftables away.
func (p Ports) Remove() error {
	var errs []error
	for _, c := range hostports {
		errs = append(errs, c.remove(p.mine))
	}
	return errors.Join(errs...)
}

// CollectPorts is GC for them. As they do not name their network, a container
// that is in another one, by what libcni remembers or by a lease of host-local's,
// keeps its own.
func CollectPorts(network string, valid []name.Attachment) error {
	known := map[string]bool{"": true} // what has no comment is nobody's
	for _, at := range valid {
		known[at.ContainerID] = true
	}
	isElsewhere := unnamed.Elsewhere(network)
	var errs []error
	for _, c := range hostports {
		errs = append(errs, c.remove(func(r othertables.Rule) bool {
			if _, seen := known[r.Comment]; !seen {
				known[r.Comment] = isElsewhere(r.Comment)
			}
			return !known[r.Comment]
		}))
	}
	return errors.Join(errs...)
}
