package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestBadInput: a clear error, and nothing has changed.
func TestBadInput(t *testing.T) {
	var many []string
	for n := range mostExempt + 1 {
		many = append(many, fmt.Sprintf(`"10.%d.%d.0/24"`, n/256, n%256))
	}
	runtime := func(limits string) string { return `,"runtimeConfig":{"bandwidth":{` + limits + `}}` }
	kerneltest.Refusals{
		Plugins: []string{"plugins/meta/bandwidth"},
		Conf:    conf,
		Setup:   makeLink,
		Look:    "tc qdisc show; pod tc qdisc show",
		Rows: []kerneltest.Refusal{
			{Name: "negative rate", Conf: `,"ingressRate":-1`, Code: 6, Words: "ingressRate|whole number from 0 on"},
			{Name: "fraction", Conf: `,"egressRate":1.5`, Code: 6, Words: "egressRate|whole number"},
			{Name: "a string", Conf: `,"egressRate":"10M"`, Code: 6, Words: "egressRate|whole number"},
			{Name: "more than 64 bits", Conf: `,"ingressRate":18446744073709551616`, Code: 6, Words: "ingressRate|whole number"},
			{Name: "burst more than 64 bits", Conf: `,"ingressRate":1,"ingressBurst":18446744073709551616`, Code: 6, Words: "ingressBurst|whole number"},
			{Name: "burst alone", Conf: `,"ingressBurst":1000`, Code: 7, Words: "ingressBurst is 1000|ingressRate"},
			{Name: "burst without a limit", Conf: `,"egressRate":0,"egressBurst":4294967295`, Code: 7, Words: "egressBurst|egressRate"},
			{Name: "burst of the runtime", Conf: runtime(`"egressBurst":5`), Code: 7, Words: "runtimeConfig.bandwidth.egressBurst is 5|runtimeConfig.bandwidth.egressRate"},
			{Name: "rate of the runtime", Conf: runtime(`"egressRate":-5`), Code: 6, Words: "runtimeConfig.bandwidth.egressRate"},
			{Name: "no object", Conf: `,"runtimeConfig":{"bandwidth":7}`, Code: 6, Words: "runtimeConfig.bandwidth|an object"},
			{Name: "no prefix", Conf: both + `,"exemptSubnets":["10.0.0.0/8","10.0.0.1"]`, Code: 7, Words: `exemptSubnets[1] is "10.0.0.1"|10.0.0.0/8`},
			{Name: "prefix too long", Conf: both + `,"exemptSubnets":["10.0.0.0/33"]`, Code: 7, Words: "exemptSubnets[0]"},
			{Name: "mapped prefix", Conf: both + `,"exemptSubnets":["::ffff:10.0.0.0/104"]`, Code: 7, Words: "exemptSubnets[0]|as IPv4"},
			{Name: "no list", Conf: both + `,"exemptSubnets":"10.0.0.0/8"`, Code: 6, Words: "exemptSubnets|a list"},
			{Name: "numbers", Conf: both + `,"exemptSubnets":[10]`, Code: 6, Words: "exemptSubnets|a string"},
			{Name: "too many", Conf: both + `,"exemptSubnets":[` + strings.Join(many, ",") + `]`, Code: 7, Words: "exemptSubnets has 257|can have 256"},
			{Name: "nowhere", Conf: both + `,"egressShaper":"host"`, Code: 7, Words: `egressShaper is "host"|ifb, pod`},
			{Name: "a slip", Conf: both + `,"strict":true,"ingresRate":5`, Code: 2, Words: "ingresRate|did you mean ingressRate"},
			{Name: "twice", Conf: both + `,"egressRate":5`, Code: 7, Words: "egressRate stands twice"},
			{Name: "STATUS too", Conf: `,"ingressBurst":1000`, Verb: "STATUS", Code: 7, Words: "ingressBurst"},
			{Name: "CHECK too", Conf: `,"ingressBurst":1000`, Verb: "CHECK", Code: 7, Words: "ingressBurst"},
			{Name: "no interface", Conf: both, IfName: "eth9", Code: 102, Words: "eth9"},
			{Name: "no namespace", Conf: both, Netns: "/run/netns/none", Code: 102, Words: "/run/netns/none"},
			{Name: "no veth", Conf: both, Setup: `pod ip link del eth0; pod ip link add eth0 type bridge`, Code: 100, Words: "eth0|no veth"},
			{Name: "nobody's end", Conf: both, Code: 102, Words: "eth0|not on the host",
				Setup: `ip link del host0; pod ip link add eth0 type veth peer name eth1`},
		},
	}.Run(t)
}
