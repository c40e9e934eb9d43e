package iptables

import (
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/lists"
	"github.com/catena-cni/catena/internal/state/name"
)

// Masquerade is addresses of a pod whose traffic leaves the host under the
// host's own address, by rules of iptables: not that to their own subnet, nor to
// multicast groups. Without addresses it is there for its Del.
//
//	chain CNI-<hash>   -d <subnet> ACCEPT; ! -d <multicast> MASQUERADE
//	POSTROUTING        -s <address> -j CNI-<hash>
//
// The chain belongs to all interfaces of the container in the network.
type Masquerade struct {
	Owner name.Attachment
	Pods  []netip.Prefix
}

func (m Masquerade) String() string {
	words := []string{"ipt  masquerade", m.chain()}
	for _, p := range m.Pods {
		words = append(words, p.String())
	}
	return strings.Join(words, " ")
}

// Idle says that nothing is asked for.
func (m Masquerade) Idle() bool { return len(m.Pods) == 0 }

func (m Masquerade) chain() string { return m.Owner.UpstreamChain(prefixMasquerade) }

func (m Masquerade) record() record {
	r := record{Owner: m.Owner, chain: m.chain()}
	for _, p := range m.Pods {
		r.Addrs = append(r.Addrs, p.Addr())
	}
	return r
}

// trace is what there is of the addresses or, without any, of all.
func (m Masquerade) trace(of []netip.Addr) trace {
	return trace{table: "nat", chain: m.chain(), from: []string{"POSTROUTING"}, of: of}
}

// batch is the rules of one family.
func (m Masquerade) batch(six bool) batch {
	b := batch{six: six, table: "nat", fresh: m.chain()}
	multicast := "224.0.0.0/4"
	if six {
		multicast = "ff00::/8"
	}
	note := commented(label(m.Owner))
	rule := func(chain string, match []string, target string) {
		b.rules = append(b.rules, in(chain, slices.Concat(match, note, []string{"-j", target})...))
	}
	for _, p := range m.Pods {
		if p.Addr().Is6() != six {
			continue
		}
		rule(m.chain(), []string{"-d", p.String()}, "ACCEPT")
		rule(m.chain(), []string{"!", "-d", multicast}, "MASQUERADE")
		rule("POSTROUTING", []string{"-s", p.Addr().String()}, m.chain())
	}
	return b
}

// Add claims the record, which a second ADD of the same attachment finds taken,
// and then puts the rules in.
func (m Masquerade) Add(k *kernel.Kernel) error {
	if m.Idle() {
		return nil
	}
	if _, err := m.record().claim(k); err != nil {
		return err
	}
	if err := m.insert(); err != nil {
		return errors.Join(err, m.Del(k))
	}
	return nil
}

func (m Masquerade) insert() error {
	siblings, err := m.record().siblings()
	if err != nil {
		return err
	}
	var of []netip.Addr
	if len(siblings) > 0 {
		of = m.record().Addrs
	}
	if _, err := m.trace(of).remove(); err != nil { // of one that was never taken away
		return err
	}
	for _, six := range families {
		b := m.batch(six)
		if len(siblings) > 0 {
			b.fresh, b.on = "", []part{{chain: m.chain()}}
		}
		if len(b.rules) == 0 {
			continue
		}
		if err := b.add(); err != nil {
			return err
		}
	}
	return nil
}

// Del takes away what the record says or, without one, all that has the name of
// the container and the network, such as upstream's. What another interface of
// the container has there stays.
func (m Masquerade) Del(*kernel.Kernel) error {
	siblings, err := m.record().siblings()
	if err != nil {
		return err
	}
	t := m.trace(nil)
	if len(siblings) > 0 {
		mine, err := m.record().read()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		t.of = append([]netip.Addr{}, mine.Addrs...) // never nil, which would be all
	}
	if _, err := t.remove(); err != nil {
		return err
	}
	return m.record().remove()
}

// Check looks for every rule.
func (m Masquerade) Check(*kernel.Kernel) error {
	return checkEach(m.batch)
}

// Masquerades reports whether the addresses are masqueraded by rules of
// iptables, whoever made them. No program is needed, and the rules are not
// looked at closer.
func Masquerades(owner name.Attachment, pods []netip.Prefix) (bool, error) {
	m := Masquerade{Owner: owner, Pods: pods}
	for _, a := range m.record().Addrs {
		if there, err := m.trace([]netip.Addr{a}).there(); err != nil || !there {
			return false, err
		}
	}
	return len(pods) > 0, nil
}

// Masqueraded lists the attachments with a record of masquerading.
func Masqueraded() ([]name.Attachment, error) {
	records, err := all(prefixMasquerade)
	return owners(lists.Without(records, func(r record) bool { return r.chain != r.Owner.UpstreamChain(prefixMasquerade) })), err
}

// CollectMasquerade is GC for masquerading that no record speaks of: it removes
// what carries the network's name and is of none of the valid attachments.
func CollectMasquerade(network string, valid []name.Attachment) error {
	like := trace{table: "nat", from: []string{"POSTROUTING"}}
	return collect(like, prefixMasquerade, labelOf(network), chains(prefixMasquerade, valid))
}
