package lease

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// probes is how many taken addresses in a row are met one by one before the
// folder is read as a whole. A reading costs as much as some thousand probes
// when the folder is large; a run of taken addresses is either short or long.
const probes = 8

// A Request asks for one address of each set.
type Request struct {
	Owner Owner
	// Netns is the path of the owner's network namespace. It is remembered,
	// so that the lease can be given up when the namespace is gone.
	Netns string
	Sets  []Set
	// Requested are addresses to take in place of the next free ones: for
	// each set the first that lies in it. One that no set takes is an error.
	Requested []netip.Addr
}

// A Lease is an address that was handed out.
type Lease struct {
	// Address has the length of the subnet's prefix.
	Address netip.Prefix
	// Gateway is the gateway of the range, invalid if it has none.
	Gateway netip.Addr
	// Kept says that the owner held the address before: an attachment that
	// is no more left it behind.
	Kept bool
}

// Add reserves one address of each set, in the order of the sets, or none.
//
// An owner that comes again while its lease is alive is refused with an
// AliveError, and a requested address that another owner holds with an
// InUseError; both are os.ErrExist. If the attachment that left the lease is gone, or upstream made it
// so that nothing is known of it, the owner gets the same address again.
func (s *Store) Add(req Request) ([]Lease, error) { return s.add(req, making) }

// Preview returns what Add would, and changes nothing.
func (s *Store) Preview(req Request) ([]Lease, error) { return s.add(req, preview) }

func (s *Store) add(req Request, m mode) ([]Lease, error) {
	if err := req.Owner.validate(); err != nil {
		return nil, err
	}
	wanted, err := assign(req)
	if err != nil {
		return nil, err
	}
	f, err := s.acquire(m)
	if err != nil {
		return nil, err
	}
	defer f.close()

	t := &taking{folder: f, req: req}
	if t.before, err = f.find(req.Owner); err != nil {
		return nil, err
	}
	var leases []Lease
	for i, set := range req.Sets {
		l, err := t.take(i, set, wanted[i])
		if err != nil {
			return nil, errors.Join(err, t.undo())
		}
		leases = append(leases, l)
	}
	if err := t.settle(); err != nil {
		return nil, errors.Join(err, t.undo())
	}
	return leases, nil
}

// assign gives each set the first requested address that lies in it.
func assign(req Request) ([]netip.Addr, error) {
	wanted := make([]netip.Addr, len(req.Sets))
	var spare []string
	seen := make(map[netip.Addr]bool, len(req.Requested))
	for _, addr := range req.Requested {
		addr = addr.Unmap().WithZone("")
		if seen[addr] {
			continue
		}
		seen[addr] = true
		i := slices.IndexFunc(req.Sets, func(s Set) bool { return s.Contains(addr) })
		if i < 0 || wanted[i].IsValid() {
			spare = append(spare, addr.String())
			continue
		}
		wanted[i] = addr
	}
	if len(spare) == 0 {
		return wanted, nil
	}
	sets := make([]string, len(req.Sets))
	for i, s := range req.Sets {
		sets[i] = s.String()
	}
	return nil, fmt.Errorf("requested address %s is %w: each range set gives one address, and these are the sets: %s",
		strings.Join(spare, ", "), ErrInvalid, strings.Join(sets, "; "))
}

// taking is one Add at work. Nothing that was there before is touched until
// every set has given an address.
type taking struct {
	*folder
	req    Request
	before []entry // what the owner held when the call began
	taken  []entry // what this call has reserved
	drop   []entry // what the owner gives back in return
}

func (t *taking) take(set int, s Set, wanted netip.Addr) (Lease, error) {
	mine, err := t.mine(s, wanted)
	if err != nil {
		return Lease{}, err
	}
	if mine != nil && (!wanted.IsValid() || mine.addr == wanted) {
		return t.lease(s, mine.addr, true), nil
	}
	if wanted.IsValid() {
		err = t.request(s, wanted)
	} else {
		wanted, err = t.search(set, s)
	}
	if err != nil {
		return Lease{}, err
	}
	if err := t.setLast(set, wanted); err != nil {
		return Lease{}, err
	}
	if mine != nil {
		t.drop = append(t.drop, *mine)
	}
	return t.lease(s, wanted, false), nil
}

func (t *taking) lease(s Set, addr netip.Addr, kept bool) Lease {
	r := s.ranges[s.find(addr)]
	return Lease{Address: netip.PrefixFrom(addr, r.Subnet.Bits()), Gateway: r.Gateway, Kept: kept}
}

// mine returns the lease that the owner already holds in s, the wanted one
// if it holds several, or nil. It is an error if that lease is alive.
func (t *taking) mine(s Set, wanted netip.Addr) (*entry, error) {
	var mine *entry
	for _, e := range t.before {
		if !s.Contains(e.addr) {
			continue
		}
		if st, ns := t.state(e); st == alive {
			return nil, &AliveError{Owner: e.owner, Address: e.addr, Netns: ns.path}
		}
		if mine == nil || e.addr == wanted {
			mine = &e
		}
	}
	return mine, nil
}

// request reserves one particular address, taking it over from a holder that
// is no more.
func (t *taking) request(s Set, addr netip.Addr) error {
	if why := s.ranges[s.find(addr)].unusable(addr); why != "" {
		return fmt.Errorf("requested address %s is %w: it is %s", addr, ErrInvalid, why)
	}
	err := t.reserve(addr)
	if !errors.Is(err, os.ErrExist) {
		return err
	}
	e, readErr := t.read(addr)
	if readErr != nil {
		return fmt.Errorf("requested address %s is in use: %w, and its holder is unknown: %w", addr, unix.EEXIST, readErr)
	}
	if t.abandoned(e) == "" {
		_, ns := t.state(e)
		return &InUseError{Address: addr, Holder: e.owner, Netns: ns.path, File: t.file(addr)}
	}
	return t.takeOver(e)
}

func (t *taking) reserve(addr netip.Addr) error {
	e, err := t.claim(addr, t.req.Owner)
	if err == nil {
		t.taken = append(t.taken, e)
	}
	return err
}

// takeOver reserves the address of a lease that has been given up.
func (t *taking) takeOver(e entry) error {
	if err := t.free(e.addr); err != nil {
		return err
	}
	if !e.torn {
		rec, _ := t.record(e.owner)
		rec.leases = slices.DeleteFunc(rec.leases, func(l stamped) bool { return l.addr == e.addr })
		t.enter(e.owner, rec)
	}
	return t.reserve(e.addr)
}

// search reserves the next free address of a set: first by trying, then by
// reading the folder once, and at last by giving up what is abandoned.
func (t *taking) search(set int, s Set) (netip.Addr, error) {
	last := t.last(set)
	at := s.cursor(last)
	for range probes {
		_, addr, ok := at.step()
		if !ok {
			break
		}
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

// firstFree reserves the first address of a round that is not held.
func (t *taking) firstFree(at *cursor, held map[netip.Addr]bool) (netip.Addr, error) {
	for {
		_, addr, ok := at.step()
		if !ok {
			return netip.Addr{}, ErrFull
		}
		if held[addr] {
			continue
		}
		// Only one who ignores the lock can have come in between.
		if err := t.reserve(addr); !errors.Is(err, os.ErrExist) {
			return addr, err
		}
	}
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

// settle gives back what was replaced and tells the index what the owner
// holds now, and where.
func (t *taking) settle() error {
	for _, e := range t.drop {
		if err := t.free(e.addr); err != nil {
			return err
		}
	}
	kept := slices.DeleteFunc(slices.Clone(t.before), func(e entry) bool { return slices.Contains(t.drop, e) })
	groups := make(map[Owner]record)
	ns := netnsAt(t.req.Netns)
	for _, e := range slices.Concat(kept, t.taken) {
		rec := groups[e.owner]
		rec.boot, rec.netns = t.bootID(), ns
		rec.leases = append(rec.leases, stamped{e.addr, e.at})
		groups[e.owner] = rec
	}
	for _, e := range t.drop {
		if _, ok := groups[e.owner]; !ok {
			groups[e.owner] = record{}
		}
	}
	for owner, rec := range groups {
		t.enter(owner, rec)
	}
	return nil
}

// undo removes what this call has reserved, and nothing else.
func (t *taking) undo() error {
	var errs []error
	for _, e := range t.taken {
		errs = append(errs, t.free(e.addr))
	}
	if len(t.taken) > 0 {
		rec, _ := t.record(t.req.Owner)
		own := slices.DeleteFunc(slices.Clone(t.before), func(e entry) bool { return e.owner != t.req.Owner })
		t.enter(t.req.Owner, rec.about(own))
	}
	return errors.Join(errs...)
}
