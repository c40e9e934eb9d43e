package iptables

import (
	"net/netip"
	"slices"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// Masquerade is addresses of a pod whose traffic leaves the host under the
// host's own address, by rules of iptables: not that to their own subnet, nor to
// multicast groups. Without addresses it is there for its Del.
//
//	chain CNI-<hash>   -d <subnet> ACCEPT; ! -d <multicast> MASQUERADE
//	POSTROUTING        -s <address> -j CNI-<hash>
type Masquerade struct {
	Owner name.Attachment
	Pods  []netip.Prefix
}

func (m Masquerade) String() string {
	return fact.Text("ipt  masquerade", m.own().upstreams().name, fact.Words("", m.Pods))
}

// Idle says that nothing is asked for.
func (m Masquerade) Idle() bool { return len(m.Pods) == 0 }

func (m Masquerade) own() own { return own{m.Owner, KindMasquerade, prefixMasquerade, "POSTROUTING"} }

func (m Masquerade) rules(six bool) ruleset {
	in := m.own().chain().name
	s := ruleset{six: six, table: "nat", chains: []string{in}}
	multicast := map[bool]string{false: "224.0.0.0/4", true: "ff00::/8"}[six]
	rule := func(chain, target string, match ...string) {
		s.rules = append(s.rules, rule{chain: chain, words: slices.Concat(match, comment(label(m.Owner)), []string{"-j", target})})
	}
	for _, p := range m.Pods {
		if p.Addr().Is6() == six {
			rule(in, "ACCEPT", "-d", p.String())
			rule(in, "MASQUERADE", "!", "-d", multicast)
			rule("POSTROUTING", in, "-s", p.Addr().String())
		}
	}
	return s
}

// Add inserts the rules.
func (m Masquerade) Add(k *kernel.Kernel) error {
	want := func(others []record) (record, error) { return record{Chain: m.own().free(others)[0].name}, nil }
	return attach(k, KindMasquerade, m.Owner, want, m.rules, m.remove)
}

// Del removes the rules, and upstream's of the same name.
func (m Masquerade) Del(*kernel.Kernel) error {
	return detach(KindMasquerade, m.Owner, m.remove, m.own().free(nil)...)
}

func (m Masquerade) remove() error {
	_, err := m.own().remove()
	return err
}

// Check looks for every rule.
func (m Masquerade) Check(*kernel.Kernel) error { return checkBoth(m.rules) }

// Masquerades reports whether the addresses are masqueraded by rules of iptables,
// whoever made them. It does not look at the rules closer.
func Masquerades(owner name.Attachment, pods []netip.Prefix) (bool, error) {
	c := Masquerade{Owner: owner}.own().upstreams()
	jumps, err := c.everywhere(c.jumps)
	lacking := func(p netip.Prefix) bool {
		return !slices.ContainsFunc(jumps, func(r rule) bool { return r.names(p.Addr()) })
	}
	return len(pods) > 0 && !slices.ContainsFunc(pods, lacking), err
}

// CollectMasquerade is GC for masquerading that no record speaks of: it removes
// what carries the network's name and is of none of the valid attachments.
func CollectMasquerade(network string, valid []name.Attachment) error {
	return locked(func() error { return Masquerade{}.own().collect(networkLabel(network), valid) })
}
