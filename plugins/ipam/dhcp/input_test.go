package main

import (
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plugintest"
)

// TestBadInput: a clear error before the daemon is asked.
func TestBadInput(t *testing.T) {
	kerneltest.Refusals{
		Plugins: []string{"plugins/ipam/dhcp"},
		Conf: func(ipam string) string {
			return `{"cniVersion":"1.0.0","name":"n","type":"bridge","ipam":{"type":"dhcp"` + ipam + `}}`
		},
		Rows: []kerneltest.Refusal{
			{Name: "no option", Conf: `,"request":[{"option":"ntp"}]`, Code: 7, Words: `ipam.request[0]|"ntp" is no DHCP option|host-name`},
			{Name: "option too large", Conf: `,"provide":[{"option":"256","value":"x"}]`, Code: 7, Words: `ipam.provide[0]|"256"`},
			{Name: "option of the end", Conf: `,"provide":[{"option":"255","value":"x"}]`, Code: 7, Words: `"255"|1 to 254`},
			{Name: "option of the conversation", Conf: `,"provide":[{"option":"53","value":"x"}]`, Code: 7, Words: "ipam.provide[0]|option 53"},
			{Name: "value too long", Conf: `,"provide":[{"option":"12","value":"` + strings.Repeat("x", 256) + `"}]`, Code: 7, Words: "ipam.provide[0]|256 bytes|255"},
			{Name: "argument too long", Conf: `,"provide":[{"option":"12","fromArg":"A"}]`, Args: "A=" + strings.Repeat("x", 300), Code: 7, Words: "300 bytes"},
			{Name: "priority", Conf: `,"priority":-1`, Code: 7, Words: "priority is -1"},
			{Name: "family", Conf: `,"family":["4","5"]`, Code: 7, Words: `family has "5"`},
			{Name: "family no list", Conf: `,"family":"4"`, Code: 6, Words: "family"},
			{Name: "provide no list", Conf: `,"provide":{"option":"12"}`, Code: 6, Words: "provide"},
			{Name: "no daemon", Code: 50, Words: "daemon is not running|/run/cni/dhcp.sock"},
			{Name: "no socket there", Conf: `,"daemonSocketPath":"/etc/passwd"`, Code: 50, Words: "/etc/passwd"},
		},
	}.Run(t)
}

// FuzzConf: any configuration is read well, or refused well.
func FuzzConf(f *testing.F) { plugintest.FuzzIPAM(f, dhcp) }
