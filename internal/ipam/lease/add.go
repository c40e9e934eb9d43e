package lease

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state"
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
}

// Add reserves one address of each set, in the order of the sets, or none.
//
// An owner that comes again while its lease is alive is refused with a HeldError,
// and so is a requested address that another owner holds. If the attachment that
// left the lease is gone or never came to be, or upstream made it so that nothing
// is known of it, the owner gets the same address again.
func (s *Store) Add(req Request) ([]Lease, error) { return s.add(req, making) }

// Preview returns what Add would, and changes nothing.
func (s *Store) Preview(req Request) ([]Lease, error) { return s.add(req, reading) }

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

	c := newChoice(f, req)
	if req.Sticky {
		c.memory = s.recall(req.Identity)
	}
	if c.held, err = f.find(req.Owner); err != nil {
		return nil, err
	}
	var leases []Lease
	for i, set := range req.Sets {
		addr, err := c.choose(i, set, wanted[i])
		if err != nil {
			return nil, err
		}
		r := set.ranges[set.find(addr)]
		leases = append(leases, Lease{Address: netip.PrefixFrom(addr, r.Subnet.Bits()), Gateway: r.Gateway})
	}
	if m == reading {
		return leases, nil
	}
	if err := c.commit(); err != nil {
		return nil, err
	}
	if req.Sticky {
		c.memory.remember(f, leases)
	}
	return leases, nil
}

// assign gives each set the first requested address that lies in it.
func assign(req Request) ([]netip.Addr, error) {
	wanted := make([]netip.Addr, len(req.Sets))
	var spare []string
	for _, addr := range req.Requested {
		i := slices.IndexFunc(req.Sets, func(s Set) bool { return s.Contains(addr) })
		switch {
		case i >= 0 && wanted[i] == addr: // asked for twice
		case i < 0 || wanted[i].IsValid():
			spare = append(spare, addr.String())
		case req.Sets[i].unusable(addr) != "":
			return nil, fmt.Errorf("requested address %s is %w: it is %s", addr, ErrInvalid, req.Sets[i].unusable(addr))
		default:
			wanted[i] = addr
		}
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

// A choice is one Add that makes up its mind: nothing is changed before every
// set has an address, and commit then changes it all.
type choice struct {
	*folder
	req      Request
	memory   memory
	held     []entry              // what the owner held when the call began
	replaced []entry              // what of that it gives back
	drop     map[netip.Addr]entry // leases that nobody is using any more
	take     []netip.Addr
	moved    map[int]netip.Addr // how far the round of each set moves on
	limit    int                // of file names to read, beyond which any address may be free
}

func newChoice(f *folder, req Request) *choice {
	return &choice{folder: f, req: req, drop: make(map[netip.Addr]entry), moved: make(map[int]netip.Addr)}
}

// choose finds the address of a set: the one that the owner holds already, or
// the wanted one, or the one that its identity had, or the next free one.
func (c *choice) choose(set int, s Set, wanted netip.Addr) (netip.Addr, error) {
	mine, err := c.mine(s, wanted)
	if err != nil {
		return netip.Addr{}, err
	}
	if mine != nil && s.unusable(mine.addr) == "" && (!wanted.IsValid() || mine.addr == wanted) {
		return mine.addr, nil
	}
	addr, had := wanted, false
	if wanted.IsValid() {
		err = c.obtain(wanted)
	} else if addr, had = c.former(s); !had {
		addr, err = c.search(set, s)
	}
	if err != nil {
		return netip.Addr{}, err
	}
	if mine != nil {
		c.replaced = append(c.replaced, *mine)
	}
	c.take = append(c.take, addr)
	if !had { // the pod's own address does not move the round
		c.moved[set] = addr
	}
	return addr, nil
}

// mine returns the lease that the owner already holds in s, the wanted one
// if it holds several, or nil. It is an error if that lease is alive.
func (c *choice) mine(s Set, wanted netip.Addr) (*entry, error) {
	var mine *entry
	for _, e := range c.held {
		if !s.Contains(e.addr) {
			continue
		}
		if ns := c.origin(e).Netns; ns.Path != "" && c.abandoned(e) == "" && !c.unfinished(ns) {
			return nil, &HeldError{Address: e.addr, Holder: e.owner, Netns: ns.Path, File: c.file(e.addr), Again: true}
		}
		if mine == nil || e.addr == wanted {
			mine = &e
		}
	}
	return mine, nil
}

// unfinished reports whether a lease of the owner's in a namespace is of an ADD
// that did not come to its end: it is the one of now, without the interface, and
// libcni keeps no result.
func (c *choice) unfinished(ns netns) bool {
	now, err := lookAt(c.req.Netns)
	if err != nil || now != ns || !c.uncached(c.req.Owner) {
		return false
	}
	k, err := kernel.Open(c.req.Netns)
	if err != nil {
		return false
	}
	defer k.Close()
	_, err = k.Link(kernel.Pod, c.req.Owner.IfName)
	return errors.Is(err, fs.ErrNotExist)
}

// obtain looks whether one particular address can be had, also in place of a
// holder that is no more.
func (c *choice) obtain(addr netip.Addr) error {
	e, err := c.read(addr)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, state.ErrDamaged):
		return fmt.Errorf("requested address %s is in use: %w: %w", addr, fs.ErrExist, err)
	case err != nil:
		return fmt.Errorf("requested address %s: whether it is in use is not known: %w", addr, err)
	case c.abandoned(e) == "":
		return &HeldError{Address: addr, Holder: e.owner, Netns: c.origin(e).Netns.Path, File: c.file(addr)}
	}
	c.drop[addr] = e
	return nil
}

// former returns the address of a set that the identity had last, where it can
// be had.
func (c *choice) former(s Set) (netip.Addr, bool) {
	for _, a := range c.memory.had {
		if s.Contains(a) && s.unusable(a) == "" && c.obtain(a) == nil {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// commit makes what was chosen true, or nothing of it.
func (c *choice) commit() error {
	if err := c.release(slices.Collect(maps.Values(c.drop))); err != nil {
		return err
	}
	var mine []entry
	undo := func(err error) error { return errors.Join(err, c.release(mine)) }
	for _, addr := range c.take {
		e, err := c.claim(addr, c.req.Owner)
		if err != nil {
			return undo(err)
		}
		mine = append(mine, e)
	}
	for set, addr := range c.moved {
		if err := c.setLast(set, addr); err != nil {
			return undo(err)
		}
	}
	if err := c.release(c.replaced); err != nil {
		return undo(err)
	}
	for _, e := range c.held {
		if !slices.Contains(c.replaced, e) {
			mine = append(mine, e)
		}
	}
	c.note(mine)
	return nil
}

// note tells the index what the owner holds now, and where it is.
func (c *choice) note(mine []entry) {
	container := c.req.Owner.ContainerID
	rec := make(record)
	others, _ := c.record(container) // of its other interfaces
	maps.Copy(rec, others)
	ns, _ := lookAt(c.req.Netns)
	for _, e := range mine {
		rec[e.addr] = origin{At: e.at, Boot: c.boot, Netns: ns}
	}
	c.enter(container, rec)
}
