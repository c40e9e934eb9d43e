package tuning

import (
	"testing"

	"github.com/catena-cni/catena/internal/fact/sysctl"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/kerneltest"
)

// FuzzRecord reads saved values of any content.
func FuzzRecord(f *testing.F) {
	yes, length := true, 500
	r := record{
		Values: Values{MAC: "02:00:00:00:00:01", MTU: 1400, Promisc: &yes, TxQLen: &length}, Sysctl: sysctl.Pairs{{Key: "net/ipv4/ip_forward", Value: "0"}},
		Features: map[string]bool{"tx-checksum-ip-generic": true}, Owner: "n/c1/eth0", NetnsRef: kernel.NetnsRef{Netns: "/run/netns/c1", PodID: kernel.PodID{Cookie: 7}},
	}
	kerneltest.FuzzRecords(f, records(""), r)
}
