package lease

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
)

// probes is how many taken addresses in a row are met one by one before the
// folder is read as a whole. A reading costs as much as some thousand probes
// when the folder is large; a run of taken addresses is either short or long.
const probes = 8

// search reserves the next free address of a set: first by trying, then by
// reading the folder once, and at last by giving up what is abandoned.
func (t *taking) search(set int, s Set) (netip.Addr, error) {
	last := t.last(set)
	at := s.cursor(last)
	var kept []netip.Addr
	for tries := probes; tries > 0 && len(kept) < keptMax; {
		_, addr, ok := at.step()
		if !ok {
			break
		}
		if t.memory.keeps(addr) && t.isFree(addr) {
			kept = append(kept, addr)
			continue
		}
		tries--
		err := t.reserve(addr)
		if errors.Is(err, os.ErrExist) {
			if e, readErr := t.read(addr); readErr == nil && e.torn {
				err = t.takeOver(e)
			}
		}
		if !errors.Is(err, os.ErrExist) {
			return addr, err
		}
	}
	if len(kept) == keptMax {
		if addr, err := t.reserveOne(kept); !errors.Is(err, ErrFull) {
			return addr, err
		}
	}
	held := make(map[netip.Addr]bool)
	err := t.names(func(addr netip.Addr) bool {
		held[addr] = true
		return true
	})
	if err != nil {
		return netip.Addr{}, err
	}
	addr, err := t.firstFree(s.cursor(last), held)
	if !errors.Is(err, ErrFull) {
		return addr, err
	}
	left, err := t.reclaim()
	if err != nil {
		return netip.Addr{}, err
	}
	clear(held)
	for _, e := range left {
		held[e.addr] = true
	}
	addr, err = t.firstFree(s.cursor(last), held)
	if errors.Is(err, ErrFull) {
		err = t.full(s, left)
	}
	return addr, err
}

// firstFree reserves the first address of a round that is not held, and one
// that others are remembered for only where there is no other at hand.
func (t *taking) firstFree(at *cursor, held map[netip.Addr]bool) (netip.Addr, error) {
	var kept []netip.Addr
	for len(kept) < keptMax {
		_, addr, ok := at.step()
		if !ok {
			break
		}
		if held[addr] {
			continue
		}
		if t.memory.keeps(addr) {
			kept = append(kept, addr)
			continue
		}
		// Only one who ignores the lock can have come in between.
		if err := t.reserve(addr); !errors.Is(err, os.ErrExist) {
			return addr, err
		}
	}
	return t.reserveOne(kept)
}

// reserveOne reserves the first address of a list that can be had.
func (t *taking) reserveOne(addrs []netip.Addr) (netip.Addr, error) {
	for _, addr := range addrs {
		if err := t.reserve(addr); !errors.Is(err, os.ErrExist) {
			return addr, err
		}
	}
	return netip.Addr{}, ErrFull
}

// reclaim gives up every lease of the folder that is abandoned, except the
// owner's own, which this call may be about to hand out again.
func (t *taking) reclaim() ([]entry, error) {
	left, _, err := t.prune(func(e entry) bool { return !e.heldBy(t.req.Owner) && t.abandoned(e) != "" })
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
