package lease

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"reflect"
	"testing"
)

// upstream allocates as upstream's host-local does, in memory and one
// address after the other.
type upstream struct {
	set  Set
	held map[netip.Addr]string
	last netip.Addr
}

func (u *upstream) add(id string) (netip.Addr, bool) {
	var ring []netip.Addr
	start := 0
	for _, r := range u.set.ranges {
		for a := r.Start; r.Contains(a); a = a.Next() {
			ring = append(ring, a)
			if a == u.last {
				start = len(ring)
			}
		}
	}
	for i := range ring {
		a := ring[(start+i)%len(ring)]
		r := u.set.ranges[u.set.find(a)]
		if _, taken := u.held[a]; taken || a == r.Gateway || a == lastOf(r.Subnet) || a == r.Subnet.Addr() {
			continue
		}
		u.held[a], u.last = id, a
		return a, true
	}
	return netip.Addr{}, false
}

func (u *upstream) del(id string) {
	for a, holder := range u.held {
		if holder == id {
			delete(u.held, a)
		}
	}
}

// Whoever of the two works on the folder, the next address is the same.
func TestOrderAgainstModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1))
			s, dir := aNetwork(t)
			ranges := sets(t, "10.0.0.0/27 10.0.0.0-10.0.0.20,10.0.1.0/28,10.0.0.0/27 10.0.0.25-10.0.0.31")
			u := &upstream{set: ranges[0], held: map[netip.Addr]string{}}
			for step := range 400 {
				id := fmt.Sprint("c", random.IntN(60))
				switch random.IntN(5) {
				case 0, 1:
					u.del(id)
					must(t, s.Del(own(id)))
				case 2: // upstream itself comes by
					u.del(id)
					must(t, s.Del(own(id)))
					if a, ok := u.add(id); ok {
						write(t, filepath.Join(dir, a.String()), id+lineBreak+"eth0")
						write(t, filepath.Join(dir, lastName+"0"), a.String())
					}
				default:
					held := false
					for _, holder := range u.held {
						held = held || holder == id
					}
					if held {
						continue
					}
					want, ok := u.add(id)
					leases, err := s.Add(Request{Owner: own(id), Netns: "/proc/self/ns/net", Sets: ranges})
					if ok != (err == nil) || ok && leases[0].Address.Addr() != want {
						t.Fatalf("step %d: got %v, %v, want %s", step, leases, err, want)
					}
				}
			}
			got := map[netip.Addr]string{}
			for _, l := range s.list(t) {
				got[l.addr] = l.owner.ContainerID
			}
			if !reflect.DeepEqual(got, u.held) {
				t.Errorf("held: %v\nwant: %v", got, u.held)
			}
		})
	}
}
