package route

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/catena-cni/catena/internal/cni"
)

// TestManyRoutes: the time that a result's routes take grows with their number, and
// not with its square, which would be many minutes.
func TestManyRoutes(t *testing.T) {
	const n = 100_000
	var routes []*cni.Route
	for i := range uint32(n) {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 10<<24+i)
		for _, gateway := range []string{"10.0.0.1", "10.0.0.2"} {
			routes = append(routes, &cni.Route{Dst: cni.IPNet(netip.PrefixFrom(netip.AddrFrom4(a), 32)), GW: netip.MustParseAddr(gateway).AsSlice()})
		}
	}
	begin := time.Now()
	out := OfResult("eth0", routes, nil)
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("it takes %v", took)
	}
	if len(out) != n || len(out[n-1].Via) != 2 {
		t.Errorf("they are %d", len(out))
	}
}
