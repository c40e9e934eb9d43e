package iptables

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/catena-cni/catena/internal/firewall/nft"
)

// rules are those of one family: what all ports share, then the attachment's
// chain, in which ports of one of the host's addresses come before those of all,
// and at last what leads to it.
func (p Ports) rules(six bool) ruleset {
	mine := slices.DeleteFunc(slices.Clone(p.Mappings), func(m nft.Mapping) bool { return m.Pod.Addr().Is6() != six })
	if len(mine) == 0 {
		return ruleset{}
	}
	own := p.own().chain().name
	s := ruleset{six: six, table: "nat", chains: []string{chainPorts, own}}
	if p.From != nft.NoSources && p.SetMarkChain == "" {
		s.chains = append(s.chains, chainMasq, chainSetMark)
		s.rules = p.masquerade()
	}
	s.rules = append(s.rules, locals(six)...)
	for _, everywhere := range []bool{false, true} {
		for _, m := range mine {
			if m.Host.IsUnspecified() == everywhere {
				s.rules = append(s.rules, p.lead(own, m)...)
			}
		}
	}
	s.rules = append(s.rules, p.entries(own, six, mine)...)
	return s
}

// locals lead what is for the host to the ports: not what is for a loopback on the wire, by which a neighbour would reach
// what is to be at the host's own 127.0.0.1 alone, nor what the host asks at ::1, where nothing can answer from.
func locals(six bool) []rule {
	to := func(chain string, not ...string) rule {
		return rule{chain: chain, words: append(not, "-m", "addrtype", "--dst-type", "LOCAL", "-j", chainPorts), shared: true}
	}
	if six {
		return []rule{to("PREROUTING", "!", "-d", "::1/128"), to("OUTPUT", "!", "-d", "::1/128")}
	}
	return []rule{to("PREROUTING", "!", "-d", "127.0.0.0/8"), to("OUTPUT")}
}

// masquerade is what all ports share that are masqueraded. The rule in
// POSTROUTING is before those of bridge and ptp, which let the pods' subnets pass.
func (p Ports) masquerade() []rule {
	rules := []rule{
		{chain: chainMasq, words: []string{"-m", "mark", "--mark", p.mark(), "-j", "MASQUERADE"}, shared: true},
		{chain: "POSTROUTING", words: append(comment("CNI portfwd requiring masquerade"), "-j", chainMasq), first: true},
	}
	if p.MarkBit == nft.DefaultMarkBit {
		set := append(comment("CNI portfwd masquerade mark"), p.setMark()...)
		rules = append(rules, rule{chain: chainSetMark, words: set, shared: true})
	}
	return rules
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
func (p Ports) lead(own string, m nft.Mapping) (rules []rule) {
	match := []string{"-p", nft.ProtocolName(m.Protocol), "--dport", strconv.Itoa(int(m.HostPort))}
	if !m.Host.IsUnspecified() {
		match = append(match, "-d", m.Host.String())
	}
	for _, source := range m.Sources(p.From) {
		if source == nft.Loopback { // besides the one that upstream's CHECK looks for
			rules = append(rules, rule{chain: own, words: slices.Concat(match, []string{"-s", "127.0.0.1"}, p.ask())})
		}
		rules = append(rules, rule{chain: own, words: slices.Concat(match, []string{"-s", source.String()}, p.ask())})
	}
	to := netip.AddrPortFrom(m.Pod.Addr(), m.PodPort).String()
	return append(rules, rule{chain: own, words: slices.Concat(match, []string{"-j", "DNAT", "--to-destination", to})})
}

// portsMax is how many ports one rule can name (XT_MULTI_PORTS).
const portsMax = 15

// entries are the rules that lead the attachment's ports to its chain.
func (p Ports) entries(own string, six bool, mine []nft.Mapping) (rules []rule) {
	conditions := map[bool][]string{false: p.V4, true: p.V6}[six]
	ports := map[string][]string{}
	for _, m := range mine {
		ports[nft.ProtocolName(m.Protocol)] = append(ports[nft.ProtocolName(m.Protocol)], strconv.Itoa(int(m.HostPort)))
	}
	for _, name := range slices.Sorted(maps.Keys(ports)) {
		for some := range slices.Chunk(ports[name], portsMax) {
			match := []string{"-m", "multiport", "-p", name, "--destination-ports", strings.Join(some, ",")}
			rules = append(rules, rule{chain: chainPorts, words: slices.Concat(comment("dnat "+label(p.Owner)), match, conditions, []string{"-j", own})})
		}
	}
	return rules
}
