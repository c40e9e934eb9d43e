package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/catena-cni/catena/internal/firewall/nft"
	"github.com/catena-cni/catena/internal/lists"
)

// batch is the rules of one family.
func (p Ports) batch(six bool) batch {
	b := batch{six: six, table: "nat", fresh: p.chain()}
	mine := lists.Without(p.Mappings, func(m nft.Mapping) bool { return m.Pod.Addr().Is6() != six })
	if len(mine) == 0 {
		return b
	}
	b.on = p.foundation()
	everywhere := func(m nft.Mapping) bool { return m.Host.IsUnspecified() }
	atOne := func(m nft.Mapping) bool { return !everywhere(m) }
	for _, m := range slices.Concat(lists.Without(mine, everywhere), lists.Without(mine, atOne)) {
		b.rules = append(b.rules, p.lead(m)...)
	}
	b.rules = append(b.rules, p.entries(six, mine)...)
	return b
}

// foundation is what all ports share.
func (p Ports) foundation() (on []part) {
	local := []string{"-m", "addrtype", "--dst-type", "LOCAL", "-j", chainPorts}
	if p.From != nft.NoSources && p.SetMarkChain == "" {
		masquerade := append(commented("CNI portfwd requiring masquerade"), "-j", chainMasq)
		on = append(on,
			part{chain: chainMasq, rule: in(chainMasq, "-m", "mark", "--mark", p.mark(), "-j", "MASQUERADE")},
			// Before the rules of bridge and ptp, which let the pods' subnets pass.
			part{rule: in("POSTROUTING", masquerade...), first: true},
		)
		if p.MarkBit == nft.DefaultMarkBit {
			set := append(commented("CNI portfwd masquerade mark"), p.setMark()...)
			on = append(on, part{chain: chainSetMark, rule: in(chainSetMark, set...)})
		}
	}
	return append(on, part{chain: chainPorts, rule: in("PREROUTING", local...)}, part{rule: in("OUTPUT", local...)})
}

func (p Ports) mark() string { return fmt.Sprintf("%#[1]x/%#[1]x", uint32(1)<<p.MarkBit) }

func (p Ports) setMark() []string { return []string{"-j", "MARK", "--set-xmark", p.mark()} }

// ask are the words that have a packet masqueraded. The shared chain is for the
// default mark alone: one bit of it must not become several.
func (p Ports) ask() []string {
	switch {
	case p.SetMarkChain != "":
		return []string{"-j", p.SetMarkChain}
	case p.MarkBit == nft.DefaultMarkBit:
		return []string{"-j", chainSetMark}
	}
	return p.setMark()
}

// lead is the rules that lead one port.
func (p Ports) lead(m nft.Mapping) (out []rule) {
	match := []string{"-p", protocol(m.Protocol), "--dport", strconv.Itoa(int(m.HostPort))}
	if !m.Host.IsUnspecified() {
		match = append(match, "-d", m.Host.String())
	}
	for _, source := range p.sources(m.Pod) {
		out = append(out, in(p.chain(), slices.Concat(match, []string{"-s", source}, p.ask())...))
	}
	to := netip.AddrPortFrom(m.Pod.Addr(), m.PodPort).String()
	return append(out, in(p.chain(), slices.Concat(match, []string{"-j", "DNAT", "--to-destination", to})...))
}

// sources are those whose connections are masqueraded.
func (p Ports) sources(pod netip.Prefix) []string {
	switch {
	case p.From == nft.NoSources:
		return nil
	case p.From == nft.AllSources:
		return []string{netip.PrefixFrom(pod.Addr(), 0).Masked().String()}
	case pod.Addr().Is4():
		// The first of the loopback's is upstream's, whose CHECK looks for it.
		return []string{pod.Masked().String(), "127.0.0.1", "127.0.0.0/8"}
	}
	return []string{pod.Masked().String()}
}

// portsMax is how many ports one rule can name (XT_MULTI_PORTS).
const portsMax = 15

// entries are the rules that lead the attachment's ports to its chain.
func (p Ports) entries(six bool, mine []nft.Mapping) (out []rule) {
	conditions := p.V4
	if six {
		conditions = p.V6
	}
	ports := map[string][]string{}
	for _, m := range mine {
		name := protocol(m.Protocol)
		ports[name] = append(ports[name], strconv.Itoa(int(m.HostPort)))
	}
	for _, name := range []string{"sctp", "tcp", "udp"} {
		for some := range slices.Chunk(ports[name], portsMax) {
			match := []string{"-m", "multiport", "-p", name, "--destination-ports", strings.Join(some, ",")}
			out = append(out, in(chainPorts, slices.Concat(commented("dnat "+label(p.Owner)), match, conditions, []string{"-j", p.chain()})...))
		}
	}
	return out
}

func protocol(number uint8) string {
	for name, n := range nft.Protocols {
		if n == number {
			return name
		}
	}
	return strconv.Itoa(int(number))
}
