package main

import (
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestBadInput(t *testing.T) {
	kerneltest.Refusals{
		Plugins: []string{"plugins/meta/flannel", "plugins/main/bridge", "plugins/ipam/host-local"},
		Conf:    kerneltest.Minimal("flannel"),
		Setup:   "mkdir /run/flannel; printf '" + strings.ReplaceAll(classic, "\n", `\n`) + "' > " + subnetEnv,
		Rows: []kerneltest.Refusal{
			{Name: "no lease", Setup: "rm " + subnetEnv, Code: 11, Words: "flanneld has not written its lease yet|" + subnetEnv},
			{Name: "no lease elsewhere", Conf: `,"subnetFile":"/run/else"`, Code: 11, Words: "/run/else"},
			{Name: "torn lease", Setup: "echo FLANNEL_SUBNET > " + subnetEnv, Code: 11, Words: "line 1|FLANNEL_MTU is missing"},
			{Name: "a folder for a lease", Conf: `,"subnetFile":"/run"`, Code: 11, Words: "/run is no plain file"},
			{Name: "subnetFile", Conf: `,"subnetFile":"x"`, Code: 7, Words: `subnetFile is "x"`},
			{Name: "dataDir", Conf: `,"dataDir":"../x"`, Code: 7, Words: `dataDir is "../x"`},
			{Name: "dataDir that takes no files", Conf: `,"dataDir":"/proc/sys/x"`, Code: 102, Words: "keep what n/c1/eth0 is made with|/proc/sys/x"},
			{Name: "delegate", Conf: `,"delegate":"bridge"`, Code: 6, Words: "delegate is to be an object"},
			{Name: "delegate's name", Conf: `,"delegate":{"Name":"x"}`, Code: 7, Words: "delegate.name"},
			{Name: "delegate's ipam", Conf: `,"delegate":{"ipam":{"type":"static"}}`, Code: 7, Words: "delegate.ipam"},
			{Name: "delegate's type", Conf: `,"delegate":{"type":7}`, Code: 7, Words: "delegate.type is 7"},
			{Name: "itself", Conf: `,"delegate":{"type":"flannel"}`, Code: 7, Words: "does no work itself"},
			{Name: "a path", Conf: `,"delegate":{"type":"../bridge"}`, Code: 7, Words: "no name of a plugin"},
			{Name: "nowhere", Conf: `,"delegate":{"type":"nowhere"}`, Code: 102, Words: `find plugin "nowhere"`},
			{Name: "ipam", Conf: `,"ipam":[]`, Code: 6, Words: "ipam"},
			{Name: "ipam's type", Conf: `,"ipam":{"type":7}`, Code: 6, Words: "ipam"},
			{Name: "routes", Conf: `,"ipam":{"routes":{"dst":"10.0.0.0/8"}}`, Code: 7, Words: "ipam.routes is {"},
			{Name: "a route", Conf: `,"ipam":{"routes":[{"dst":"10.0.0.0"}]}`, Code: 7, Words: "ipam.routes[0].dst"},
			{Name: "unknown key", Conf: `,"strict":true,"subnetfile":"/run/flannel/subnet.env","delgate":{}`, Code: 2, Words: "delgate|delegate"},
			{Name: "the bridge's own", Conf: `,"delegate":{"vlan":9999}`, Code: 7, Words: "bridge: |vlan is 9999"},
			{Name: "arguments", Args: "FOO=1", Code: 4, Words: "bridge: |FOO"},
			{Name: "broken prevResult", Conf: `,"prevResult":{"ips":7}`, Code: 6, Words: "prevResult"},
			{Name: "a key twice", Conf: `,"name":""`, Code: 7, Words: "name stands twice"},
		},
	}.Run(t)
}
