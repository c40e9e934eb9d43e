package main

import (
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestAgain: of two ADDs of an attachment the last one's values count, and those
// from before the first come back with DEL.
func TestAgain(t *testing.T) {
	kerneltest.Again{
		Bin: kerneltest.Build(t, "plugins/meta/tuning"), Plugin: "tuning",
		Conf: func(keys string) string {
			return head + keys + `,"prevResult":{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","mac":"02:bb:bb:bb:bb:bb","mtu":1500,"sandbox":"/n"}],"ips":[{"address":"10.1.2.3/24","interface":0}]}}`
		},
		Setup: setup, Look: values,
		Keys: []string{
			``, some, `,"mtu":1300,"mac":"02:00:5E:00:00:02"`, `,"sysctl":{"net.core.somaxconn":"700","net.ipv4.ip_local_port_range":"4000 5000"}`,
		},
	}.Run(t)
}
