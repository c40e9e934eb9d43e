package lease

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
)

// probes is how many taken addresses in a row are met one by one before the
// folder is read as a whole. A reading costs as much as some thousand probes
// when the folder is large; a run of taken addresses is either short or long.
const probes = 8

// search finds the next free address of a set: first by trying, then by listing
// the folder once, and at last by giving up what is abandoned.
func (c *choice) search(set int, s Set) (netip.Addr, error) {
	last := c.last(set)
	if addr, ok := c.probe(s, last); ok {
		return addr, c.obtain(addr)
	}
	held, all, err := c.files(c.limit)
	if err != nil || !all {
		return netip.Addr{}, err
	}
	c.withoutDropped(held)
	if addr, ok := c.firstFree(s, last, held); ok {
		return addr, nil
	}
	left, err := c.reclaim()
	if err != nil {
		return netip.Addr{}, err
	}
	c.withoutDropped(held)
	if addr, ok := c.firstFree(s, last, held); ok {
		return addr, nil
	}
	return netip.Addr{}, c.full(s, left)
}

// withoutDropped takes out what this call gives up.
func (c *choice) withoutDropped(held map[netip.Addr]bool) {
	for addr := range c.drop {
		delete(held, addr)
	}
}

// probe tries the next addresses of a set. What a kill left of a lease is free.
func (c *choice) probe(s Set, last netip.Addr) (netip.Addr, bool) {
	tries := probes
	for addr := range s.from(last) {
		if c.memory.ofAnother(addr) {
			continue
		}
		if e, err := c.read(addr); err == nil && e.torn() || errors.Is(err, fs.ErrNotExist) {
			return addr, true
		}
		if tries--; tries == 0 {
			break
		}
	}
	return netip.Addr{}, false
}

// firstFree returns the first address of a round that is not held, and one
// that others are remembered for only where there is no other.
func (c *choice) firstFree(s Set, last netip.Addr, held map[netip.Addr]bool) (spare netip.Addr, ok bool) {
	for addr := range s.from(last) {
		switch {
		case held[addr]:
		case !c.memory.ofAnother(addr):
			return addr, true
		case !spare.IsValid():
			spare = addr
		}
	}
	return spare, spare.IsValid()
}

// reclaim gives up every lease of the folder that is abandoned, except the
// owner's own, which this call may be about to hand out again. It returns the
// others.
func (c *choice) reclaim() (left []entry, err error) {
	leases, err := c.all()
	for _, e := range leases {
		if !e.heldBy(c.req.Owner) && c.abandoned(e) != "" {
			c.drop[e.addr] = e
		} else {
			left = append(left, e)
		}
	}
	return left, err
}

// full is the error of a set in which every address is held.
func (f *folder) full(s Set, left []entry) error {
	held, containers := 0, make(map[string]bool)
	for _, e := range left {
		if s.Contains(e.addr) {
			held++
			containers[e.owner.ContainerID] = true
		}
	}
	return fmt.Errorf("%w in %s: %d held by %d containers in %s, none of them provably gone", ErrFull, s, held, len(containers), f.path)
}
