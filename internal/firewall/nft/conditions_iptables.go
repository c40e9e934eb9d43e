package nft

import (
	"errors"
	"slices"
	"strings"
)

const iptablesWords = "-s, -d, -i, -o, -p, --sport, --dport, --sports, --dports, --src-range, --dst-range, --mark, --ctstate, --mac-source and -m for their modules"

// modules are the matches of iptables whose options are understood.
var modules = []string{"tcp", "udp", "sctp", "multiport", "iprange", "mark", "conntrack", "state", "mac", "comment"}

// iptables reads conditions as iptables has them.
func (w *reader) iptables() (out []condition, err error) {
	for len(w.words) > 0 {
		not := w.take("!")
		option := w.next()
		if option == "-m" || option == "--match" {
			if module := w.next(); not || !slices.Contains(modules, module) {
				return nil, unknownMatch{unknown(module, "-m with "+strings.Join(modules, ", "))}
			}
			continue
		}
		value := w.next()
		if option == "--comment" {
			continue
		}
		c, err := w.option(option, not, value)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func (w *reader) option(option string, not bool, value string) (c condition, err error) {
	values := strings.Split(value, ",")
	switch option {
	case "-s", "--source", "--src", "--src-range":
		c, err = w.addressCondition(true).with(parseAddress(w.six), values...)
	case "-d", "--destination", "--dst", "--dst-range":
		c, err = w.addressCondition(false).with(parseAddress(w.six), values...)
	case "-i", "--in-interface", "-o", "--out-interface":
		return interfaceCondition(strings.HasPrefix(strings.Trim(option, "-"), "o"), not, "+", []string{value})
	case "-p", "--protocol", "--proto":
		w.proto = !not
		c, err = protocolCondition().with(parseProtocol, value)
	case "--sport", "--source-port", "--sports", "--source-ports":
		c, err = w.ports(true, values)
	case "--dport", "--destination-port", "--dports", "--destination-ports":
		c, err = w.ports(false, values)
	case "--mark":
		c, err = maskedMark(value)
	case "--ctstate", "--state":
		if c, err = stateCondition(not, values); err != nil {
			err = unknownMatch{err}
		}
		return c, err
	case "--mac-source":
		c, err = etherSourceCondition().with(parseMAC, value)
	default:
		return c, unknownMatch{unknown(option, iptablesWords)}
	}
	c.not = not
	return c, err
}

func (w *reader) ports(source bool, values []string) (condition, error) {
	if !w.proto {
		return condition{}, errors.New("a port needs -p tcp, udp or sctp before it")
	}
	return portCondition(source).with(parsePort, values...)
}

// maskedMark reads a mark, and behind a slash the bits of it that count.
func maskedMark(text string) (condition, error) {
	c := markCondition()
	text, mask, ok := strings.Cut(text, "/")
	if ok {
		m, err := parseMark(mask)
		if err != nil {
			return c, err
		}
		c.mask = m.First
	}
	return c.with(parseMark, text)
}
