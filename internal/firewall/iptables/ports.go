package iptables

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/catena-cni/catena/internal/cni"
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
// name, in which a container's interfaces in a network are alike: another one's
// has a name of its own. Of the attachments of a container the first has the
// ports, and the next one's rules are behind it.
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

	own bool // the chain is the attachment's own
}

func (p Ports) String() string {
	words := []string{"ipt  ports", p.chain()}
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

// shown is how many ports a text names.
const shown = 16

func (p Ports) conditions() string {
	return strings.TrimSpace(strings.Join(slices.Concat(p.V4, p.V6), " "))
}

// Short is what errors call them.
func (p Ports) Short() string { return "ipt ports " + p.chain() }

// Idle says that nothing is asked for.
func (p Ports) Idle() bool { return len(p.Mappings) == 0 }

// Made reports whether the attachment has ports.
func (p Ports) Made(*kernel.Kernel) (bool, error) {
	_, made := p.known()
	return made, nil
}

func (p Ports) chain() string {
	if p.own {
		h := name.Hash("chain\x00" + p.Owner.String())
		return (prefixPorts + hex.EncodeToString(h[:]))[:chainMax]
	}
	return p.Owner.UpstreamChain(prefixPorts)
}

func (p Ports) record() record {
	return record{Owner: p.Owner, chain: p.chain(), Ports: p.Mappings, Conditions: p.conditions()}
}

// traces are the chain, and that of old versions of upstream's.
func (p Ports) traces() []trace {
	return []trace{
		{table: "nat", chain: p.chain(), from: []string{chainPorts}},
		{table: "nat", chain: p.Owner.UpstreamChain(prefixOldSNAT), from: []string{chainOldSNAT}},
	}
}

// Add claims the record, looks whether another pod has one of the ports, and then
// puts the rules in. Behind those of the container's other attachments they wait.
func (p Ports) Add(k *kernel.Kernel) error {
	if p.Idle() {
		return nil
	}
	p, err := p.claim(k)
	if err != nil {
		return err
	}
	if err := p.insert(k); err != nil {
		return errors.Join(err, p.Del(k))
	}
	return nil
}

// claim settles the chain. As this looks at others once its own record is there,
// of two interfaces that come at the same time one at least sees the other.
func (p Ports) claim(k *kernel.Kernel) (Ports, error) {
	p, _ = p.known()
	if _, err := p.record().claim(k); err != nil || p.own {
		return p, err
	}
	siblings, err := p.record().siblings()
	for _, key := range siblings {
		if other, rerr := readRecord(key); rerr != nil || other.Abandoned() {
			err = errors.Join(err, records.Remove(key))
			continue
		}
		err = errors.Join(err, p.record().remove())
		p.own = true
		_, cerr := p.record().claim(k)
		return p, errors.Join(err, cerr)
	}
	return p, err
}

// known is the ports with the chain that the attachment has by its record.
func (p Ports) known() (known Ports, there bool) {
	for _, p.own = range []bool{true, false} {
		if there, _ := p.record().made(); there {
			return p, true
		}
	}
	return p, false
}

func (p Ports) insert(k *kernel.Kernel) error {
	if err := p.free(k); err != nil {
		return err
	}
	if _, err := p.clear(); err != nil { // of one that was never taken away
		return err
	}
	for _, six := range families {
		if b := p.batch(six); len(b.rules) > 0 {
			if err := b.add(); err != nil {
				return err
			}
		}
	}
	return nil
}

// free refuses a port that another pod has, unless that pod is provably gone. As
// this looks once its own record is there, of two pods that come at the same
// time one at least sees the other.
func (p Ports) free(k *kernel.Kernel) error {
	others, err := all(prefixPorts)
	if err != nil {
		return err
	}
	for _, o := range others {
		held := p.overlap(o)
		switch {
		case held == nil:
		case o.Abandoned():
			if err := (Ports{Owner: o.Owner}).Del(k); err != nil {
				return err
			}
		default:
			err := cni.Taken("%s is held by %s", held.HostPortName(), o.Owner)
			return cni.Hint(err, fmt.Sprintf("detach (DEL) %s first, or give one of the two another host port or hostIP", o.Owner))
		}
	}
	return nil
}

// overlap is the first of the ports that the other's record has too, at the same
// address and under the same conditions.
func (p Ports) overlap(o record) *nft.Mapping {
	if o.Owner.ContainerID == p.Owner.ContainerID || o.Conditions != p.conditions() {
		return nil
	}
	type place struct {
		protocol uint8
		six      bool
		port     uint16
	}
	at := func(m nft.Mapping) place { return place{m.Protocol, m.Host.Is6(), m.HostPort} }
	held := map[place][]netip.Addr{}
	for _, m := range o.Ports {
		held[at(m)] = append(held[at(m)], m.Host)
	}
	for _, m := range p.Mappings {
		for _, host := range held[at(m)] {
			if host == m.Host || host.IsUnspecified() || m.Host.IsUnspecified() {
				return &m
			}
		}
	}
	return nil
}

// Del takes away all that has the name of the container and the network, unless
// it is another interface's, and with the begun port what is shared. A record
// without a chain is of an ADD that came no further than to what is shared.
func (p Ports) Del(*kernel.Kernel) error {
	p, begun := p.known()
	siblings, err := p.record().siblings()
	if err != nil {
		return err
	}
	if len(siblings) == 0 {
		cleared, err := p.clear()
		if err != nil {
			return err
		}
		begun = begun || cleared
	}
	if begun {
		if err := sweepPorts(); err != nil {
			return err
		}
	}
	return p.record().remove()
}

// clear takes the chains away, whoever made them, and says whether there were any.
func (p Ports) clear() (cleared bool, err error) {
	for _, t := range p.traces() {
		removed, err := t.remove()
		if err != nil {
			return cleared, err
		}
		cleared = cleared || removed
	}
	return cleared, nil
}

// sweepPorts takes away what is shared where no port needs it.
func sweepPorts() error {
	return sweep("nat",
		common{chainPorts, []string{"PREROUTING", "OUTPUT"}},
		common{chainMasq, []string{"POSTROUTING"}},
		common{chainSetMark, nil},
		common{chainOldSNAT, []string{"POSTROUTING", "OUTPUT"}},
	)
}

// Check looks for every rule, those that are shared too.
func (p Ports) Check(*kernel.Kernel) error {
	p, _ = p.known()
	return checkEach(p.batch)
}

// Mapped reports whether the attachment has ports by rules of iptables, whoever
// made them. No program is needed, and the rules are not looked at closer. A
// chain that another interface of the container has is not looked at.
func Mapped(owner name.Attachment) (bool, error) {
	p := Ports{Owner: owner}
	if siblings, err := p.record().siblings(); err != nil || len(siblings) > 0 {
		return false, err
	}
	return p.traces()[0].there()
}

// MappedOnes lists the attachments with a record of ports.
func MappedOnes() ([]name.Attachment, error) {
	records, err := all(prefixPorts)
	return owners(records), err
}

// CollectPorts is GC for ports that no record speaks of: it removes what carries
// the network's name and is of none of the valid attachments.
func CollectPorts(network string, valid []name.Attachment) error {
	like := trace{table: "nat", from: []string{chainPorts}}
	keep := chains(prefixPorts, valid)
	for _, at := range valid {
		keep = append(keep, Ports{Owner: at, own: true}.chain())
	}
	err := collect(like, prefixPorts, "dnat "+labelOf(network), keep)
	return errors.Join(err, sweepPorts())
}
