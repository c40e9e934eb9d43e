package iptables

import (
	"net/netip"
	"testing"

	"github.com/catena-cni/catena/internal/firewall/nft"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/state/name"
)

// FuzzRecord reads records of any content.
func FuzzRecord(f *testing.F) {
	owner, pod := name.Attachment{Network: "n", ContainerID: "c1", IfName: "eth0"}, netip.MustParsePrefix("10.1.2.3/24")
	kerneltest.FuzzRecords(f, records(KindPorts),
		record{Owner: owner, Chain: "CNI-DN-x", Conditions: "x", Ports: []nft.Mapping{{Protocol: 6, Host: netip.IPv4Unspecified(), HostPort: 80, Pod: pod, PodPort: 8080}}},
		record{Owner: owner, Addrs: []netip.Addr{pod.Addr()}, Bridge: "cni0", Preexisting: true})
}
