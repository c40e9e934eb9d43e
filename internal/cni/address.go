package cni

import (
	"fmt"
	"net/netip"
)

// Unmap turns ::ffff:10.0.0.0/104 into 10.0.0.0/8.
func Unmap(p netip.Prefix) netip.Prefix {
	if !p.Addr().Is4In6() || p.Bits() < 96 {
		return p
	}
	return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
}

// ReadAddress reads an address that may be left out. The error names the key.
func ReadAddress(key, text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%s is %q, which is no IP address", key, text)
	}
	return a.Unmap(), nil
}

// ReadPrefix reads an address, or a prefix, whose bits behind the length are
// kept; an address alone is as long as can be. The error names the key.
func ReadPrefix(key, text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return Unmap(p), nil
	}
	a, err := ReadAddress(key, text)
	if err != nil || !a.IsValid() {
		return netip.Prefix{}, fmt.Errorf("%s is %q, which is no IP address, with or without a prefix length", key, text)
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// ReadInterfaceAddress reads an address with the prefix length of its subnet,
// which an interface can have. The error names the key.
func ReadInterfaceAddress(key, text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() && p.Bits() < 96 {
		return p, fmt.Errorf("%s is %q: an address is written with the length of its subnet's prefix, like 10.1.2.3/24", key, text)
	}
	p = Unmap(p)
	switch a := p.Addr(); {
	case a.IsUnspecified() || a.IsMulticast():
		return p, fmt.Errorf("%s is %s, which no interface can have", key, p)
	case a.Is4() && p.Bits() < 31 && !p.Contains(a.Next()):
		return p, fmt.Errorf("%s is %s, which is the broadcast address of its subnet", key, p)
	}
	return p, nil
}
