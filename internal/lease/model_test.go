package lease

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
	"time"
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
			list, err := s.List()
			must(t, err)
			got := map[netip.Addr]string{}
			for _, l := range list {
				got[l.Address] = l.Owner.ContainerID
			}
			if !reflect.DeepEqual(got, u.held) {
				t.Errorf("held: %v\nwant: %v", got, u.held)
			}
		})
	}
}

// A call that is killed anywhere leaves what the next call understands.
func TestKilled(t *testing.T) {
	both := sets(t, "10.0.0.0/24", "fd00::/64")
	if dir := os.Getenv("LEASE_TEST_KILL"); dir != "" {
		s, _ := networkIn(t, dir)
		for i := 0; ; i++ {
			o := own(fmt.Sprint("k", i%5))
			s.Add(Request{Owner: o, Netns: "/proc/self/ns/net", Sets: both})
			if i%3 != 0 {
				s.Del(o)
			}
		}
	}
	t.Parallel()
	dir := t.TempDir()
	s, folder := networkIn(t, dir)
	mustAdd(t, s, Request{Owner: own("other"), Netns: "/proc/self/ns/net", Sets: both})
	for i := range 15 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "LEASE_TEST_KILL="+dir)
		must(t, cmd.Start())
		time.Sleep(time.Duration(15+i) * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		indexIsRight(t, s)
		for k := range 5 {
			must(t, s.Del(own(fmt.Sprint("k", k))))
		}
		list, err := s.List()
		must(t, err)
		for _, l := range list {
			// A torn file is left when the kill comes between create and write.
			if l.Owner != own("other") && l.Owner != (Owner{}) {
				t.Fatalf("left %s", files(t, folder))
			}
		}
		isComplete(t, s, true)
	}
}

// indexIsRight fails if the index claims to be complete and is not.
func indexIsRight(t *testing.T, s *Store) {
	t.Helper()
	f, err := s.lock(preview)
	must(t, err)
	defer f.close()
	if !f.complete {
		return
	}
	entries, err := f.walk()
	must(t, err)
	all := map[Owner][]entry{}
	for _, e := range entries {
		all[e.owner] = append(all[e.owner], e)
	}
	for owner, want := range all {
		if got, ok := f.findIndexed(owner); !ok || len(got) != len(want) {
			t.Errorf("the index knows %v of %s, the folder %v", got, owner, want)
		}
	}
}

func TestRecordText(t *testing.T) {
	t.Parallel()
	for _, r := range []record{
		{leases: []stamped{{addr("10.0.0.1"), 0}}},
		{boot: "b", netns: netns{"/run/a path/with spaces", 4, 1 << 60}, leases: []stamped{{addr("fd00::1"), 7}, {addr("10.0.0.1"), -7}}},
	} {
		got, err := parseRecord(r.String())
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%s: got %+v, %v", r, got, err)
		}
	}
}
