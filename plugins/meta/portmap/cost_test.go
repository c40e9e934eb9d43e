package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plugintest"
)

// work is the processor's time that the calling thread has had, with the kernel's
// part of it: how busy the machine is does not matter.
func work(t *testing.T) time.Duration {
	t.Helper()
	var spent unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &spent); err != nil {
		t.Fatal(err)
	}
	return time.Duration(spent.Nano())
}

// TestManyPorts: a thousand ports are as many members, and cost no more each than
// a few.
func TestManyPorts(t *testing.T) {
	kerneltest.NeedsRoot(t, manyPorts)
	s := kerneltest.New(t)
	bridged(s)
	each := map[string]time.Duration{}
	for _, c := range []struct {
		what string
		list []PortMapping
	}{
		{"a thousand", shifted(1000, 20000, 30000)},
		{"a few", shifted(15, 20000, 20000)},
	} {
		p := plugintest.PlanAt(t, portmap, attachment("n", "c1", dual...), Conf{RuntimeConfig: mapping(c.list...)})
		if err := errors.Join(p.Add(s.Kernel()), p.Del(s.Kernel())); err != nil { // makes what stays
			t.Fatal(err)
		}
		start := work(t)
		if err := p.Add(s.Kernel()); err != nil {
			t.Fatal(err)
		}
		added := work(t) - start
		each[c.what] = added / time.Duration(len(c.list))
		n := strings.Count(s.Run("nft list map inet catena hostports4"), "n/c1/eth0")
		if n != len(c.list) {
			t.Errorf("%s: %d members, and %d are wanted", c.what, n, len(c.list))
		}
		start = work(t)
		if err := p.Del(s.Kernel()); err != nil {
			t.Fatal(err)
		}
		t.Logf("ports %s: ADD %v, DEL %v", c.what, added, work(t)-start)
	}
	if each["a thousand"] > each["a few"] {
		t.Errorf("for each port: %v", each)
	}
}

// TestCostAmongOthers: what a pod with a port costs does not depend on the ports
// that others have. With a set of ranges, DEL would take some ten times as long.
func TestCostAmongOthers(t *testing.T) {
	kerneltest.NeedsRoot(t, manyPorts)
	s := kerneltest.New(t)
	bridged(s)
	k := s.Kernel()
	p := plugintest.PlanAt(t, portmap, attachment("n", "c1", dual...), Conf{RuntimeConfig: mapping(PortMapping{HostPort: 8080, ContainerPort: 80})})
	cost := func() (add, del time.Duration) {
		const rounds = 15
		var adds, dels []time.Duration
		for range rounds {
			start := work(t)
			if err := p.Add(k); err != nil {
				t.Fatal(err)
			}
			added := work(t)
			if err := p.Del(k); err != nil {
				t.Fatal(err)
			}
			adds, dels = append(adds, added-start), append(dels, work(t)-added)
		}
		slices.Sort(adds)
		slices.Sort(dels)
		return adds[rounds/2], dels[rounds/2]
	}
	cost() // makes what stays
	add, del := cost()
	var theirs []PortMapping
	for i := range 5000 {
		theirs = append(theirs, PortMapping{HostPort: 10000 + 3*i, ContainerPort: 80})
	}
	others := plugintest.PlanAt(t, portmap, attachment("n", "c0", "10.1.2.9/24", "fd00:1:2::9/64"), Conf{RuntimeConfig: mapping(theirs...)})
	if err := others.Add(k); err != nil {
		t.Fatal(err)
	}
	addAmong, delAmong := cost()
	t.Logf("ADD %v and among 5000 others %v, DEL %v and %v", add, addAmong, del, delAmong)
	const factor = 3
	if addAmong > factor*add {
		t.Errorf("ADD takes %v, and %v among 5000 others", add, addAmong)
	}
	if delAmong > factor*del {
		t.Errorf("DEL takes %v, and %v among 5000 others", del, delAmong)
	}
}
