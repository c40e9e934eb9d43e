package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"

	"github.com/catena-cni/catena/internal/cni/conf"
)

// The parts of a result, as the library of the specification has them.
type (
	Result    = current.Result
	Interface = current.Interface
	IPConfig  = current.IPConfig
	Route     = types.Route
	DNS       = types.DNS
)

// NewResult is an empty result.
func NewResult() *Result { return &Result{CNIVersion: current.ImplementedSpecVersion} }

// ParseResult reads the result that a plugin has printed.
func ParseResult(plugin string, data []byte, confVersion string) (*Result, error) {
	r, err := parseResult(data, confVersion)
	if err != nil {
		err = Errorf(CodeDecode, "the result of %s: %w", plugin, err)
		return nil, Hint(err, "it is what that plugin prints on standard output: run it by hand to see all of it")
	}
	return r, nil
}

// parseResult reads a result of any version. One that does not say its version
// is of the configuration's.
func parseResult(data []byte, confVersion string) (*Result, error) {
	var own struct {
		CNIVersion string             `json:"cniVersion"`
		Interfaces []*json.RawMessage `json:"interfaces"`
		IPs        []*json.RawMessage `json:"ips"`
		Routes     []*json.RawMessage `json:"routes"`
	}
	err := conf.Explain(data, json.Unmarshal(data, &own))
	// The library does not look for nulls in lists, and a plugin need not.
	if slices.Contains(slices.Concat(own.Interfaces, own.IPs, own.Routes), nil) {
		err = errors.Join(err, errors.New("null stands in a list of interfaces, ips or routes"))
	}
	if err == nil && own.CNIVersion == "" {
		own.CNIVersion = confVersion
		data, err = withVersion(data, confVersion)
	}
	if err != nil {
		return nil, err
	}
	versioned, err := create.Create(own.CNIVersion, data)
	if err != nil {
		return nil, fmt.Errorf("version %s: %w", own.CNIVersion, conf.Explain(data, err))
	}
	r, err := current.NewResultFromResult(versioned)
	if err == nil {
		err = complete(r)
	}
	if err != nil {
		return nil, fmt.Errorf("version %s: %w", own.CNIVersion, err)
	}
	return r, nil
}

// complete looks for what every address and route has. The library does not, and
// would print "<nil>" in its place, which no plugin can read.
func complete(r *Result) error {
	if i := slices.IndexFunc(r.IPs, func(ip *IPConfig) bool { return !Prefix(ip.Address).IsValid() }); i >= 0 {
		return fmt.Errorf("address %d of %d is missing", i+1, len(r.IPs))
	}
	if i := slices.IndexFunc(r.Routes, func(route *Route) bool { return !Prefix(route.Dst).IsValid() }); i >= 0 {
		return fmt.Errorf("route %d of %d has no destination", i+1, len(r.Routes))
	}
	return nil
}

func withVersion(result []byte, version string) ([]byte, error) {
	members := map[string]json.RawMessage{}
	if err := json.Unmarshal(result, &members); err != nil || members == nil {
		return nil, errors.Join(err, errors.New("it is no object"))
	}
	members["cniVersion"], _ = json.Marshal(version)
	return json.Marshal(members)
}

// PrevResult reads what the plugin before this one in the chain printed, or
// for CHECK and DEL what the whole chain did. It is nil where there is none.
func (r *Request) PrevResult() (*Result, error) {
	if len(r.Conf.PrevResult) == 0 || string(r.Conf.PrevResult) == "null" {
		return nil, nil
	}
	result, err := parseResult(r.Conf.PrevResult, r.Conf.CNIVersion)
	if err != nil {
		return nil, Errorf(CodeDecode, "prevResult: %w", err)
	}
	return result, nil
}

// Print gives a result's JSON text in the version that was asked for.
func Print(r *Result, version string) ([]byte, error) {
	versioned, err := r.GetAsVersion(version)
	if err != nil {
		return nil, Errorf(CodeVersion, "a result of cniVersion %s cannot say this: %w", version, err)
	}
	return json.MarshalIndent(versioned, "", "    ")
}

// AsVersion is a result after it was printed in a version and read again: older
// ones have room for less.
func AsVersion(r *Result, version string) (*Result, error) {
	versioned, err := r.GetAsVersion(version)
	if err == nil {
		r, err = current.NewResultFromResult(versioned)
	}
	if err != nil {
		return nil, Errorf(CodeVersion, "a result of cniVersion %s cannot say this: %w", version, err)
	}
	return r, nil
}

// Prefix is an address of a result with its prefix length, or the zero value.
func Prefix(n net.IPNet) netip.Prefix {
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}
	}
	a = a.Unmap()
	if bits > a.BitLen() { // an IPv4 address written with an IPv6 mask
		ones -= bits - a.BitLen()
	}
	return netip.PrefixFrom(a, ones)
}

// Prefixes are Prefix of several.
func Prefixes(ips []*IPConfig) (out []netip.Prefix) {
	for _, ip := range ips {
		out = append(out, Prefix(ip.Address))
	}
	return out
}

// Address is an IP of a result, or the zero value where there is none.
func Address(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// IPNet is a prefix as results have it.
func IPNet(p netip.Prefix) net.IPNet {
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// InterfaceOf is the pod's interface of that name in the result, nil where it has
// none: the one whose sandbox is the pod's namespace, else one that is in a
// sandbox at all, else one of which the result does not say where it is.
func InterfaceOf(r *Result, ifname, netns string) (found *Interface) {
	rank := func(i *Interface) int {
		switch {
		case i == nil:
			return 0
		case i.Sandbox == "":
			return 1
		case i.Sandbox != netns:
			return 2
		}
		return 3
	}
	for _, i := range r.Interfaces {
		if i != nil && i.Name == ifname && rank(i) > rank(found) {
			found = i
		}
	}
	return found
}

// IPsOf are the result's addresses that belong to the pod's interface: those
// that name it, those that name none, and, where there are no such, those whose
// number does not lead to another interface in a sandbox. Plugins that are
// written in a hurry count their interfaces wrong, or leave the sandbox out.
func IPsOf(r *Result, ifname, netns string) []*IPConfig {
	if r == nil {
		return nil
	}
	own := InterfaceOf(r, ifname, netns)
	var certain, likely []*IPConfig
	for _, ip := range r.IPs {
		i := InterfaceAt(r, ip)
		switch {
		case i == nil, i == own:
			certain = append(certain, ip)
		case own == nil, own.Sandbox == "", i.Sandbox == "":
			likely = append(likely, ip)
		}
	}
	if len(certain) == 0 {
		return likely
	}
	return certain
}

// InterfaceAt is the interface that an address names, nil where it names none
// that there is.
func InterfaceAt(r *Result, ip *IPConfig) *Interface {
	if ip.Interface == nil || *ip.Interface < 0 || *ip.Interface >= len(r.Interfaces) {
		return nil
	}
	return r.Interfaces[*ip.Interface]
}
