package addr

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestSettled waits for the kernel's word by its events.
func TestSettled(t *testing.T) {
	for _, row := range []struct {
		name, setup string
		words       string
	}{
		{"nobody has it", "true", ""},
		{"somebody has it", "ip addr add fd00::3/64 dev h0 nodad", "somebody else"},
		{"there is no carrier", "ip link set h0 down", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := kerneltest.New(t)
			s.Run("ip link add h0 type veth peer name eth0; ip link set eth0 netns $POD; ip link set h0 up; " + row.setup)
			k := s.Kernel()
			a := Addr{Side: kernel.Pod, Link: "eth0", Prefix: netip.MustParsePrefix("fd00::3/64"), Detect: Wait}
			if err := a.Add(k); err != nil {
				t.Fatal(err)
			}
			s.Run("pod ip link set eth0 up")
			k = s.Kernel()
			err := Settled{Link: "eth0", Addrs: []netip.Addr{a.Prefix.Addr()}}.Add(k)
			if (row.words == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), row.words) {
				t.Errorf("%v", err)
			}
			if row.words != "" && errors.Is(a.Check(k), nil) {
				t.Error("CHECK does not see that somebody else has it")
			}
		})
	}
}
