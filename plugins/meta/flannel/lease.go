package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/state"
)

// lease is what flanneld says of the node in its subnet file.
type lease struct {
	networks []netip.Prefix // of the whole cluster
	subnets  []netip.Prefix // of this node, IPv4 before IPv6
	mtu      int
	ipMasq   bool // flanneld masquerades itself
}

// leaseMax bounds a file that has six short lines. A list of networks may be
// somewhat longer.
const leaseMax = 64 << 10

// readLease reads the subnet file.
func readLease(path string) (lease, error) {
	text, err := state.ReadTrusted(path, leaseMax)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("flanneld has not written its lease yet: %w", err)
		return lease{}, cni.Hint(err, "look whether flanneld runs on this node and what it says: kubectl -n kube-flannel get pods -o wide, and kubectl logs of the node's one, "+
			"or journalctl -u flanneld; where it writes to another file (its option --subnet-file), name that one in subnetFile")
	}
	if err != nil {
		return lease{}, fmt.Errorf("flanneld's lease: %w", err)
	}
	l, err := parseLease(string(text))
	if err != nil {
		err = fmt.Errorf("flanneld's lease %s: %w", path, err)
		err = cni.Hint(err, "flanneld writes the file when it starts: compare it with flanneld's version and options, and restart flanneld")
	}
	return l, err
}

// setting is the value of a key and the line that it stands in. A shell reads
// the file the same way: the last one counts.
type setting struct {
	key, value string
	line       int
}

// keys are those of the file that count here.
var keys = []string{"FLANNEL_NETWORK", "FLANNEL_IPV6_NETWORK", "FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET", "FLANNEL_MTU", "FLANNEL_IPMASQ"}

// parseLease reads the file's text, and says of all that is wrong where it is.
func parseLease(text string) (l lease, err error) {
	settings, errs := parseSettings(text)
	networks, more := prefixes(settings["FLANNEL_NETWORK"], settings["FLANNEL_IPV6_NETWORK"])
	errs = append(errs, more...)
	l.networks = networks
	for _, key := range []string{"FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET"} {
		if s := settings[key]; s.value != "" {
			subnet, err := s.prefix(s.value)
			errs, l.subnets = append(errs, err), append(l.subnets, subnet)
		}
	}
	if s := settings["FLANNEL_MTU"]; s.value != "" {
		l.mtu, err = s.mtu()
		errs = append(errs, err)
	}
	// Whatever is not true is false for upstream too.
	l.ipMasq = settings["FLANNEL_IPMASQ"].value == "true"
	for _, need := range [][]string{keys[0:2], keys[2:4], keys[4:5], keys[5:6]} {
		if !slices.ContainsFunc(need, func(key string) bool { return settings[key].value != "" }) {
			errs = append(errs, fmt.Errorf("%s is missing", strings.Join(need, " or ")))
		}
	}
	return l, errors.Join(errs...)
}

// parseSettings reads lines KEY=VALUE as a shell would, with quotes and export,
// with comments, and with the line ends of another system.
func parseSettings(text string) (settings map[string]setting, errs []error) {
	settings = map[string]setting{}
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "export"); ok && strings.TrimLeft(rest, " \t") != rest {
			line = strings.TrimSpace(rest)
		}
		key, value, ok := strings.Cut(line, "=")
		key = strings.TrimSpace(key)
		if !slices.Contains(keys, key) {
			continue // a comment, a blank line, or what is not for us
		}
		if !ok {
			errs = append(errs, fmt.Errorf("line %d: %s has no '=' behind it", n, key))
		}
		settings[key] = setting{key, unquote(strings.TrimSpace(value)), n}
	}
	return settings, errs
}

func unquote(value string) string {
	if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
		return strings.TrimSpace(value[1 : n-1])
	}
	return value
}

// prefixes reads lists of networks between commas; none comes twice.
func prefixes(lists ...setting) (all []netip.Prefix, errs []error) {
	for _, s := range lists {
		for text := range strings.SplitSeq(s.value, ",") {
			if text = strings.TrimSpace(text); text == "" {
				continue
			}
			p, err := s.prefix(text)
			if errs = append(errs, err); !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	return all, errs
}

// prefix reads a network. Flanneld writes a subnet as its first address.
func (s setting) prefix(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("line %d: %s is %.60q, which is no network like 10.244.1.0/24", s.line, s.key, text)
	}
	return p.Masked(), nil
}

// mtuMax is the largest MTU of a veth and a bridge (ETH_MAX_MTU).
const mtuMax = 65535

func (s setting) mtu() (int, error) {
	mtu, err := strconv.Atoi(s.value)
	if err != nil || mtu < 0 || mtu > mtuMax {
		return 0, fmt.Errorf("line %d: %s is %.60q, and can be 0 to %d", s.line, s.key, s.value, mtuMax)
	}
	return mtu, nil
}
