package iptables

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/firewall/conntrack"
	"github.com/catena-cni/catena/internal/firewall/nft"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// Ports are host ports that lead to a pod by rules of iptables. The mappings are
// as nft.Merge gives them. Without any it is there for its Del.
//
//	PREROUTING, OUTPUT   to the host's own addresses: -j CNI-HOSTPORT-DNAT
//	CNI-HOSTPORT-DNAT    the attachment's ports: -j CNI-DN-<hash>
//	CNI-DN-<hash>        for each port: mark it where it must be masqueraded, DNAT
//	CNI-HOSTPORT-SETMARK sets the mark
//	POSTROUTING          -j CNI-HOSTPORT-MASQ, which masquerades what has it
//
// What is shared goes with the last port. The attachment's chain has upstream's
// name, which all interfaces of a container in a network would share: the second
// interface's has a name of its own. Of the attachments of a container the first
// has the ports, and the next one's rules are behind it.
type Ports struct {
	Owner    name.Attachment
	Mappings []nft.Mapping
	From     nft.Sources
	// MarkBit is the bit of the packets' mark that asks for masquerading.
	MarkBit int
	// SetMarkChain is a chain of somebody else's that asks for it instead.
	SetMarkChain string
	// V4 and V6 are conditions in iptables' words.
	V4, V6 []string
}

// shown is how many ports a text names.
const shown = 16

func (p Ports) String() string {
	words := []string{p.Short()}
	for _, m := range p.Mappings[:min(shown, len(p.Mappings))] {
		words = append(words, fmt.Sprintf("{ %v : %v }", m, netip.AddrPortFrom(m.Pod.Addr(), m.PodPort)))
	}
	if more := len(p.Mappings) - shown; more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	switch {
	case p.Idle() || p.From == nft.NoSources:
	case p.SetMarkChain != "":
		words = append(words, "marked by", p.SetMarkChain)
	default:
		words = append(words, fmt.Sprintf("mark bit %d", p.MarkBit))
	}
	if c := p.conditions(); c != "" {
		words = append(words, "if", c)
	}
	return strings.Join(words, " ")
}

func (p Ports) conditions() string { return strings.Join(slices.Concat(p.V4, p.V6), " ") }

// Short is what errors call them.
func (p Ports) Short() string { return "ipt  ports " + p.own().upstreams().name }

// Idle says that nothing is asked for.
func (p Ports) Idle() bool { return len(p.Mappings) == 0 }

// Made reports whether the attachment has ports.
func (p Ports) Made(*kernel.Kernel) (bool, error) { return records(KindPorts).Has(p.Owner), nil }

func (p Ports) own() own { return own{p.Owner, KindPorts, prefixPorts, chainPorts} }

// old is the chain that old versions of upstream's plugin made besides.
func (p Ports) old() chain {
	return chain{"nat", p.Owner.UpstreamChain(prefixOldSNAT), []string{chainOldSNAT}}
}

// Add looks whether another pod has one of the ports, and inserts the rules.
func (p Ports) Add(k *kernel.Kernel) error {
	return attach(k, KindPorts, p.Owner, p.want, p.rules, p.remove)
}

// want refuses a port that another pod has. One whose pod is provably gone gives
// way.
func (p Ports) want(others []record) (record, error) {
	r := record{Chain: p.own().free(others)[0].name, Ports: p.Mappings, Conditions: p.conditions()}
	for _, o := range others {
		i := slices.IndexFunc(p.Mappings, func(m nft.Mapping) bool { return p.taken(m, o) })
		if i < 0 {
			continue
		}
		if !o.Abandoned() {
			m := p.Mappings[i]
			err := cni.Taken("%s is held by %s", m.HostPortName(), o.Owner)
			return r, cni.Hint(err, fmt.Sprintf("detach (DEL) %s first, or give one of the two another host port or hostIP", o.Owner))
		}
		if err := takeBack(KindPorts, o.Owner, Ports{Owner: o.Owner}.remove); err != nil {
			return r, err
		}
	}
	return r, nil
}

// taken reports whether another container has the port, at the same address and
// under the same conditions.
func (p Ports) taken(m nft.Mapping, by record) bool {
	return by.Owner.ContainerID != p.Owner.ContainerID && by.Conditions == p.conditions() && slices.ContainsFunc(by.Ports, func(o nft.Mapping) bool {
		return o.Protocol == m.Protocol && o.HostPort == m.HostPort && o.Host.Is6() == m.Host.Is6() &&
			(o.Host == m.Host || o.Host.IsUnspecified() || m.Host.IsUnspecified())
	})
}

// Del removes the rules, and upstream's of the same name, and what is shared with
// the last port.
func (p Ports) Del(*kernel.Kernel) error {
	return detach(KindPorts, p.Owner, p.remove, append(p.own().free(nil), p.old())...)
}

func (p Ports) remove() error {
	_, err := p.old().remove()
	begun := records(KindPorts).Has(p.Owner)
	removed, rerr := p.own().remove()
	if err = errors.Join(err, rerr); begun || removed {
		err = errors.Join(err, removeUnusedPorts())
	}
	if r, rerr := records(KindPorts).Read(p.Owner); rerr == nil && err == nil {
		conntrack.ForgetGone(nft.Flows(r.Ports))
	}
	return err
}

// removeUnusedPorts removes what is shared where no port needs it.
func removeUnusedPorts() error {
	return removeUnused(
		chain{"nat", chainPorts, []string{"PREROUTING", "OUTPUT"}},
		chain{"nat", chainMasq, []string{"POSTROUTING"}},
		chain{"nat", chainSetMark, nil},
		chain{"nat", chainOldSNAT, []string{"POSTROUTING", "OUTPUT"}},
	)
}

// Check looks for every rule, those that are shared too.
func (p Ports) Check(*kernel.Kernel) error { return checkBoth(p.rules) }

// Mapped reports whether the attachment has ports by rules of iptables, whoever
// made them. It does not look at the rules closer, nor at a chain that another
// interface of the container has.
func Mapped(owner name.Attachment) (bool, error) {
	others, err := others(KindPorts, owner)
	c := Ports{Owner: owner}.own().free(others)[0]
	jumps, jerr := c.everywhere(c.jumps)
	return len(jumps) > 0, errors.Join(err, jerr)
}

// CollectPorts is GC for ports that no record speaks of: it removes what carries
// the network's name and is of none of the valid attachments.
func CollectPorts(network string, valid []name.Attachment) error {
	return locked(func() error {
		err := Ports{}.own().collect("dnat "+networkLabel(network), valid)
		return errors.Join(err, removeUnusedPorts())
	})
}
