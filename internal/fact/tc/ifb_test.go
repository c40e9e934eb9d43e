package tc

import (
	"testing"

	"github.com/catena-cni/catena/internal/state/name"
)

// TestNames: the first name is the one that upstream's plugin gives, which knows
// no interfaces; the second tells them apart.
func TestNames(t *testing.T) {
	zero := IFB{Owner: name.Attachment{Network: "net1", ContainerID: "cont1", IfName: "eth0"}}
	if zero.Name() != "bwp01d424cb2a93" {
		t.Errorf("upstream's name is bwp01d424cb2a93, not %s", zero.Name())
	}
	one := zero
	one.Owner.IfName = "eth1"
	if one.Name() != zero.Name() || one.names()[1] == zero.names()[1] || one.names()[1] == one.Name() {
		t.Errorf("%v and %v", zero.names(), one.names())
	}
	for _, n := range append(zero.names(), one.names()...) {
		if !isName(n) || len(n) != 15 {
			t.Errorf("%s is no name of ours", n)
		}
	}
	for _, n := range []string{"bwp", "bwp01d424cb2a9", "bwp01d424cb2a931", "bwp01d424cb2a9x", "xwp01d424cb2a93"} {
		if isName(n) {
			t.Errorf("%s is taken for a name of ours", n)
		}
	}
}
