package main

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"

	"github.com/catena-cni/catena/internal/fact/tc"
	"github.com/catena-cni/catena/internal/plugin"
)

// Conf is bandwidth's own part of the network configuration.
type Conf struct {
	Limits
	ExemptSubnets []string      `json:"exemptSubnets" doc:"prefixes: what comes from them or goes to them, by the addresses that the pod sees, is not limited; a cluster's Services are prefixes of their own"`
	EgressShaper  string        `json:"egressShaper" enum:"ifb,pod" default:"ifb" doc:"where egress is limited: at a device on the host (ifb), or at the pod's own interface (pod), of whatever kind it is"`
	RuntimeConfig RuntimeConfig `json:"runtimeConfig" lint:"-" doc:"values of the capabilities; the runtime adds it"`

	ingress, egress tc.Limit
	exempt          []netip.Prefix
}

// Limits are those of both directions, as the pod sees them.
type Limits struct {
	IngressRate  *uint64 `json:"ingressRate" doc:"most that the pod receives, in bit/s of whole frames; 0 is no limit"`
	IngressBurst *uint64 `json:"ingressBurst" doc:"bits that may come at once after a pause, by default 50 ms of the rate; a frame may in any case. 4294967295 and more, which runtimes give when nobody has asked for a burst, are the default too"`
	EgressRate   *uint64 `json:"egressRate" doc:"most that the pod sends, in bit/s of whole frames; 0 is no limit"`
	EgressBurst  *uint64 `json:"egressBurst" doc:"bits that may go at once after a pause, as ingressBurst"`
}

// RuntimeConfig is the values of the capabilities that bandwidth looks at.
type RuntimeConfig struct {
	Bandwidth Limits `json:"bandwidth" doc:"the four limits, where the configuration has none of them"`
}

// noWish is the burst that containerd and CRI-O give when nobody has asked for
// one, the most that 32 bits hold. At a rate of 100 Mbit/s it would let the
// first 43 seconds' worth pass at once. So it, and what is more, is no burst.
const noWish = math.MaxUint32

// mostExempt bounds the list of subnets: a filter for each looks at every packet.
const mostExempt = 256

// validate chooses between the configuration's limits and the runtime's, and
// refuses what cannot be, before anything is touched.
func validate(_ *plugin.Call, c *Conf) error {
	l, where := c.Limits, ""
	if l == (Limits{}) {
		l, where = c.RuntimeConfig.Bandwidth, "runtimeConfig.bandwidth."
	}
	var errs [3]error
	c.ingress, errs[0] = limit(where+"ingress", l.IngressRate, l.IngressBurst)
	c.egress, errs[1] = limit(where+"egress", l.EgressRate, l.EgressBurst)
	c.exempt, errs[2] = prefixes(c.ExemptSubnets)
	return errors.Join(errs[:]...)
}

func limit(direction string, rate, burst *uint64) (l tc.Limit, err error) {
	if rate != nil {
		l.Rate = *rate
	}
	if burst != nil && *burst < noWish {
		l.Burst = *burst
	}
	if l.Rate == 0 && burst != nil && *burst != 0 {
		return tc.Limit{}, fmt.Errorf("%sBurst is %d, and there is no %[1]sRate for it: give both, or neither", direction, *burst)
	}
	return l, nil
}

func prefixes(texts []string) (out []netip.Prefix, err error) {
	if len(texts) > mostExempt {
		return nil, fmt.Errorf("exemptSubnets has %d prefixes, and can have %d", len(texts), mostExempt)
	}
	var errs []error
	for i, text := range texts {
		p, err := netip.ParsePrefix(text)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("exemptSubnets[%d] is %q, which is no prefix such as 10.0.0.0/8 or fd00::/8", i, text))
		case p.Addr().Is4In6():
			errs = append(errs, fmt.Errorf("exemptSubnets[%d] is %q: write an IPv4 prefix as IPv4", i, text))
		case !slices.Contains(out, p.Masked()):
			out = append(out, p.Masked())
		}
	}
	return out, errors.Join(errs...)
}
