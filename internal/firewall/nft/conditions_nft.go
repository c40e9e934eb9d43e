package nft

import (
	"fmt"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
)

const nftWords = "ip or ip6 saddr, daddr, protocol or nexthdr; tcp, udp, sctp or th sport or dport; iifname; oifname; meta l4proto or mark; ct state; ether saddr"

// nft reads conditions as the nft program has them.
func (w *reader) nft() (out []condition, err error) {
	for len(w.words) > 0 {
		c, err := w.match()
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func (w *reader) match() (condition, error) {
	word := w.next()
	switch word {
	case "ip", "ip6":
		return w.network(word)
	case "tcp", "udp", "sctp", "th":
		return w.transport(word)
	case "ether":
		if field := w.next(); field != "saddr" {
			return condition{}, unknown(field, "saddr after ether")
		}
		c := etherSourceCondition()
		c.not = w.negated()
		return w.valuesInto(c, parseMAC)
	case "ct":
		if field := w.next(); field != "state" {
			return condition{}, unknown(field, "state after ct")
		}
		not := w.negated()
		values, err := w.values(true)
		if err != nil {
			return condition{}, err
		}
		return stateCondition(not, values)
	case "meta":
		return w.meta(w.next())
	}
	return w.meta(word)
}

func (w *reader) network(family string) (condition, error) {
	if family != w.family {
		return condition{}, fmt.Errorf("%s does not match what these conditions are for: %s does", family, w.family)
	}
	var c condition
	field := w.next()
	switch field {
	case "saddr", "daddr":
		c = w.addressCondition(field == "saddr")
		c.not = w.negated()
		return w.valuesInto(c, parseAddress(w.six))
	case "protocol", "nexthdr":
		c = protocolCondition()
		c.not = w.negated()
		return w.valuesInto(c, parseProtocol)
	}
	return c, unknown(field, "saddr, daddr, protocol or nexthdr after "+family)
}

func (w *reader) transport(protocol string) (condition, error) {
	field := w.next()
	if field != "sport" && field != "dport" {
		return condition{}, unknown(field, "sport or dport after "+protocol)
	}
	c := portCondition(field == "sport")
	if protocol != "th" {
		c.load = append(protocolIs(protocol), c.load...)
	}
	c.not = w.negated()
	return w.valuesInto(c, parsePort)
}

func (w *reader) meta(key string) (condition, error) {
	switch key {
	case "iifname", "iif", "oifname", "oif":
		not := w.negated()
		values, err := w.values(false)
		if err != nil {
			return condition{}, err
		}
		return interfaceCondition(key[0] == 'o', not, "*", values)
	case "l4proto":
		c := protocolCondition()
		c.not = w.negated()
		return w.valuesInto(c, parseProtocol)
	case "mark":
		c := markCondition()
		if w.take("&", "and") {
			m, err := parseMark(w.next())
			if err != nil {
				return c, err
			}
			c.mask = m.First
		}
		c.not = w.negated()
		return w.valuesInto(c, parseMark)
	}
	return condition{}, unknown(key, nftWords)
}

func (w *reader) negated() bool {
	if w.take("!=", "ne") {
		return true
	}
	w.take("==", "eq")
	return false
}

// values reads one value, or several between braces. A list is several without
// them.
func (w *reader) values(list bool) (out []string, err error) {
	braces := w.take("{")
	for {
		v := w.next()
		if v == "" || v == "," || v == "}" || v == "{" {
			return nil, unknown(v, "a value")
		}
		out = append(out, v)
		if (braces || list) && w.take(",") {
			if braces && w.take("}") {
				return out, nil
			}
			continue
		}
		if braces && !w.take("}") {
			return nil, unknown(w.next(), "',' or '}' between values")
		}
		return out, nil
	}
}

func (w *reader) valuesInto(c condition, parse func(string) (wire.Span, error)) (condition, error) {
	values, err := w.values(false)
	if err != nil {
		return c, err
	}
	return c.with(parse, values...)
}
