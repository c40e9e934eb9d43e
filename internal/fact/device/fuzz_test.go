package device

import (
	"net/netip"
	"testing"

	"github.com/catena-cni/catena/internal/fact/addr"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/state/name"
)

// FuzzRecord reads records of any content.
func FuzzRecord(f *testing.F) {
	kerneltest.FuzzRecords(f, records, record{
		Owner: name.Attachment{Network: "n", ContainerID: "c1", IfName: "eth0"},
		Name:  "up0", Alias: "a", Kind: "veth", MAC: "02:00:00:00:00:01", MTU: 1400, Up: true, Master: "br0", Inode: 5, Hardware: "pci0000:00/0000:00:1f.6",
		Addresses: []addr.Kept{{Prefix: netip.MustParsePrefix("10.1.2.3/24"), Peer: netip.MustParseAddr("10.1.2.4"), Label: "up0:1", Metric: 7}},
	})
}
