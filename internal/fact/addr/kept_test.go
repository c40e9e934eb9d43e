package addr

import (
	"testing"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// TestKept: an address comes back as it was, with what the library's type has no
// place for, and to give it twice is success.
func TestKept(t *testing.T) {
	s := kerneltest.New(t)
	s.Run(`ip link add h0 type veth peer name eth0; ip link set h0 up
		ip addr add 10.1.0.1/24 brd 10.1.0.200 dev h0 label h0:1 metric 7
		ip addr add 10.2.0.1 peer 10.2.0.9/24 dev h0 noprefixroute
		ip addr add fd00::1/64 dev h0 nodad metric 9
		ip addr add 10.3.0.1/24 dev h0 valid_lft 600 preferred_lft 600`)
	const show = "ip addr show dev h0 scope global | grep inet | grep -v 10.3.0.1 | sed 's/ tentative//'"
	k := s.Kernel()
	l, err := k.Link(kernel.Host, "h0")
	if err != nil {
		t.Fatal(err)
	}
	before := s.Run(show)
	kept, err := Keep(k, l)
	if err != nil || len(kept) != 3 {
		t.Fatalf("%+v %v", kept, err)
	}
	s.Run("ip addr flush dev h0 scope global")
	for range 2 {
		for _, a := range kept {
			if err := a.Give(k, kernel.Host, l); err != nil {
				t.Errorf("%+v: %v", a, err)
			}
		}
	}
	s.Same("given back", before, s.Run(show))
}
