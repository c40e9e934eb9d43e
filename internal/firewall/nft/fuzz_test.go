package nft

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/state/name"
)

// FuzzRecord reads records of any content.
func FuzzRecord(f *testing.F) {
	profile, err := NewProfile(7, []string{"ip saddr", "10.0.0.0/8"}, nil)
	if err != nil {
		f.Fatal(err)
	}
	r := record{
		Owner: name.Attachment{Network: "n", ContainerID: "c1", IfName: "eth0"}, NetnsRef: kernel.NetnsRef{Netns: "/run/netns/c1"},
		Kind: "ports", Family: unix.NFPROTO_INET, Since: 1,
		Elements: []Element{{Element: wire.Element{Set: "s", Key: []byte{0, 80, 6}, Data: []byte{10, 1, 2, 3}}, Text: "80"}, {Element: wire.Element{Set: "v", Jump: "c"}, Shared: true}},
	}
	profiled := r
	profiled.Profile = profile
	kerneltest.FuzzRecords(f, records("ports"), r, profiled)
}
