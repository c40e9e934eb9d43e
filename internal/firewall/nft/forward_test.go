package nft

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/state/name"
)

// TestOwnedTable: a table that another program keeps for itself cannot be
// changed. ADD and STATUS name it, and ADD leaves nothing.
func TestOwnedTable(t *testing.T) {
	s := kerneltest.New(t)
	owner, err := wire.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	const flagOwner = 2 // NFT_TABLE_F_OWNER
	theirs := wire.Table{Family: unix.NFPROTO_INET, Name: "firewalld"}
	batch := []wire.Message{
		theirs.Message(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, wire.U32(unix.NFTA_TABLE_FLAGS, flagOwner)),
		theirs.NewChain("filter_FORWARD", filterForward),
	}
	err = owner.Commit(append(batch, theirs.NewRules("filter_FORWARD", wire.Match(wire.One(wire.Drop())))...), 0)
	if err != nil {
		t.Fatal(err)
	}
	f := NewForward(name.Attachment{Network: "n", ContainerID: "c1", IfName: "eth0"}, "", netip.MustParseAddr("10.1.2.3"))
	const words = "nftables table inet firewalld, chain filter_FORWARD drops what is forwarded"
	if err := ForwardReady(); err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("STATUS: %v", err)
	}
	if err := f.Add(s.Kernel()); err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("ADD: %v", err)
	}
	if text := s.Text(); strings.Contains(text, "n/c1/eth0") || strings.Contains(text, f.Owner.Key()) {
		t.Errorf("ADD has left something:\n%s", text)
	}
	// Their owner lets the pods through: no rule is needed.
	if err := owner.Commit(theirs.NewRule(0, "filter_FORWARD", wire.Match(wire.One(wire.Accept()))), 0); err != nil {
		t.Fatal(err)
	}
	if err := ForwardReady(); err != nil {
		t.Error(err)
	}
	if err := f.Add(s.Kernel()); err != nil {
		t.Error(err)
	}
}
