package lease

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/lists"
)

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
	// Sticky says that addresses are remembered: Identity, unless it is "",
	// gets those again that it had last, and others get them only where
	// nothing else is at hand.
	Sticky   bool
	Identity string
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
	if req.Sticky {
		t.memory = s.recall(req.Identity)
		defer t.memory.close()
	}
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
	t.remember(leases)
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
		if why := req.Sets[i].unusable(addr); why != "" {
			return nil, fmt.Errorf("requested address %s is %w: it is %s", addr, ErrInvalid, why)
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
	memory *memory
	before []entry // what the owner held when the call began
	taken  []entry // what this call has reserved
	drop   []entry // what the owner gives back in return
}

func (t *taking) take(set int, s Set, wanted netip.Addr) (Lease, error) {
	mine, err := t.mine(s, wanted)
	if err != nil {
		return Lease{}, err
	}
	if mine != nil && s.unusable(mine.addr) == "" && (!wanted.IsValid() || mine.addr == wanted) {
		return t.lease(s, mine.addr, true), nil
	}
	addr, err := t.choose(set, s, wanted)
	if err != nil {
		return Lease{}, err
	}
	if mine != nil {
		t.drop = append(t.drop, *mine)
	}
	return t.lease(s, addr, false), nil
}

// choose reserves the wanted address of a set, or the one that the owner's
// identity had, which does not move the round, or the next free one.
func (t *taking) choose(set int, s Set, addr netip.Addr) (_ netip.Addr, err error) {
	if addr.IsValid() {
		err = t.request(addr)
	} else {
		if had, ok := t.same(s); ok {
			return had, nil
		}
		addr, err = t.search(set, s)
	}
	if err != nil {
		return netip.Addr{}, err
	}
	return addr, t.setLast(set, addr)
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
func (t *taking) request(addr netip.Addr) error {
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
		rec.leases = lists.Without(rec.leases, func(l stamped) bool { return l.addr == e.addr })
		t.enter(e.owner, rec)
	}
	return t.reserve(e.addr)
}

// settle gives back what was replaced and tells the index what the owner
// holds now, and where.
func (t *taking) settle() error {
	for _, e := range t.drop {
		if err := t.free(e.addr); err != nil {
			return err
		}
	}
	kept := lists.Without(t.before, func(e entry) bool { return slices.Contains(t.drop, e) })
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
		own := lists.Without(t.before, func(e entry) bool { return e.owner != t.req.Owner })
		t.enter(t.req.Owner, rec.about(own))
	}
	return errors.Join(errs...)
}
