package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestBadInput: a clear error, and nothing has changed.
func TestBadInput(t *testing.T) {
	kerneltest.Refusals{
		Plugins: []string{"plugins/meta/sbr"},
		Conf:    func(row string) string { return head + row + `}` },
		Setup:   kerneltest.TwoNetworks,
		Rows: []kerneltest.Refusal{
			{Name: "no prevResult", Code: 7, Words: "prevResult|chain"},
			{Name: "no address", Conf: `,"prevResult":{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"/n"}]}`, Code: 7, Words: "no address of eth0"},
			{Name: "another interface's address", Conf: prev, IfName: "mgmt0", Code: 7, Words: "no address of mgmt0"},
			{Name: "no interface", Conf: prev, Setup: "ip link del heth0", Code: 102, Words: "eth0"},
			{Name: "no namespace", Conf: prev, Netns: "/run/netns/none", Code: 102, Words: "/run/netns/none"},
			{Name: "table a string", Conf: prev + `,"table":"100"`, Code: 6, Words: "table|whole number"},
			{Name: "table 0", Conf: prev + `,"table":0`, Code: 7, Words: "table is 0"},
			{Name: "table negative", Conf: prev + `,"table":-1`, Code: 6, Words: "table"},
			{Name: "table too large", Conf: prev + `,"table":4294967296`, Code: 6, Words: "table"},
			{Name: "gateways a string", Conf: prev + `,"gateways":"10.1.2.1"`, Code: 6, Words: "gateways|list"},
			{Name: "no gateway", Conf: prev + `,"gateways":["10.1.2"]`, Code: 7, Words: `gateways has "10.1.2"`},
			{Name: "a prefix", Conf: prev + `,"gateways":["10.1.2.1/24"]`, Code: 7, Words: "10.1.2.1/24"},
			{Name: "a zone", Conf: prev + `,"gateways":["fe80::1%eth0"]`, Code: 7, Words: "fe80::1%eth0"},
			{Name: "nowhere", Conf: prev + `,"gateways":["0.0.0.0"]`, Code: 7, Words: "0.0.0.0"},
			{Name: "a group", Conf: prev + `,"gateways":["ff02::1"]`, Code: 7, Words: "ff02::1"},
			{Name: "two of a family", Conf: prev + `,"gateways":["10.1.2.1","fe80::1","10.1.2.2"]`, Code: 7, Words: "10.1.2.1 and 10.1.2.2|one of each family"},
			{Name: "a gateway that is the pod's own", Conf: prev + `,"gateways":["10.1.2.3"]`, Code: 7, Words: "10.1.2.3|pod's own"},
			{Name: "a gateway that the kernel refuses", Conf: prev + `,"gateways":["127.0.0.1"]`, Code: 100, Words: "route pod 0.0.0.0/0|via 127.0.0.1|table 100"},
			{Name: "hints a string", Conf: prev + `,"addSourceHints":"yes"`, Code: 6, Words: "addSourceHints|true or false"},
			{Name: "unknown key, strict", Conf: prev + `,"strict":true,"addSourceHint":true`, Code: 2, Words: "did you mean addSourceHints"},
			{Name: "broken prevResult", Conf: `,"prevResult":{"cniVersion":"1.1.0","ips":[null]}`, Code: 6, Words: "prevResult|null"},
			{Name: "CHECK without prevResult", Verb: "CHECK", Code: 7, Words: "prevResult"},
			{Name: "CHECK before ADD", Verb: "CHECK", Conf: prev, Code: 104, Words: "rules pod from 10.1.2.3"},
		},
	}.Run(t)
}

// TestManyAddresses: more than a pod ever has are refused, and it does not take long
// to find out.
func TestManyAddresses(t *testing.T) {
	var addresses []string
	for i := range 200_000 {
		addresses = append(addresses, fmt.Sprintf("10.%d.%d.%d/8 none", i>>16, i>>8&255, i&255))
	}
	call := at("c1", addresses...)
	begin := time.Now()
	if got := sources(call, Conf{}); len(got) != len(addresses) {
		t.Errorf("there are %d", len(got))
	}
	if err := complete(call, Conf{}); err == nil || !strings.Contains(err.Error(), "eth0 has 200000 addresses") {
		t.Errorf("they are accepted: %v", err)
	}
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("it takes %v", took)
	}
	if err := complete(at("c1", addresses[:addressesMax]...), Conf{}); err != nil {
		t.Error(err)
	}
}
