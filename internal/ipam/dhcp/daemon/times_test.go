package daemon

import (
	"testing"
	"time"

	"github.com/catena-cni/catena/internal/ipam/dhcp/client"
)

// TestTimes goes through the life of a lease that nobody extends.
func TestTimes(t *testing.T) {
	start := time.Unix(100000, 0)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	for _, c := range []struct {
		renew, rebind, expire int
		want                  []int
	}{
		{1800, 3150, 3600, []int{1800, 2475, 2812, 2981, 3065, 3125, 3150, 3375, 3487, 3547, 3600}},
		{5, 8, 10, []int{5, 6, 7, 8, 9, 10}},
	} {
		l := &client.Lease{Renew: at(c.renew), Rebind: at(c.rebind), Expire: at(c.expire)}
		var tried time.Time
		for _, want := range c.want {
			tried = nextTime(l, tried)
			if got := int(tried.Sub(start) / time.Second); got != want {
				t.Errorf("%v: %d, not %d", c, got, want)
			}
		}
		if !l.Expired(tried) {
			t.Errorf("%v: it lasts", c)
		}
	}
	if next := nextTime(&client.Lease{}, time.Time{}); !next.IsZero() {
		t.Errorf("a lease for good is looked at at %v", next)
	}
}
