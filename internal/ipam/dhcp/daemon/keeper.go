package daemon

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/netip"
	"time"

	"github.com/catena-cni/catena/internal/ipam/dhcp/client"
	"github.com/catena-cni/catena/internal/kernel"
)

// keeper keeps the lease of one family of an attachment, in a goroutine that sleeps
// until the lease's next time.
type keeper struct {
	*attachment
	family string
	client client.Client
}

// lease is the lease, and what of it the interface has.
func (c keeper) lease() (lease, applied *client.Lease) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.record.Leases[c.family], c.record.Applied[c.family]
}

func (c keeper) segment() client.Segment {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.record.Segment
}

// guard turns a panic into an error. What a server sends is read far below: one
// that finds a fault there is not to end the leases of all pods.
func guard(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("internal error: %v", p)
		}
	}()
	return do()
}

// acquire gets the first lease, and sets the MTU. The plugin sets the addresses.
func (c keeper) acquire(ctx context.Context, requested netip.Addr) error {
	k, err := c.open()
	if err != nil {
		return err
	}
	defer k.Close()
	l, err := c.client.Acquire(ctx, k, requested)
	if l != nil { // also beside an error, to be released
		err = errors.Join(err, c.update(func(r *Record) { r.Leases[c.family], r.Applied[c.family] = l, l }))
	}
	if err != nil {
		return fmt.Errorf("IPv%s: %w", c.family, err)
	}
	return lowerMTU(k, c.at.IfName, l.MTU)
}

// Pauses between attempts to get another lease in the place of one that is lost.
const (
	firstPause   = 2 * time.Second
	longestPause = time.Minute
)

// keep goes from one of the lease's times to the next. After an ADD it does not
// open the pod once more: who unmounts the namespace next would find it busy.
func (c keeper) keep(ctx context.Context, resumed bool) {
	var err error
	if resumed {
		err = c.present()
	}
	var tried time.Time
	for pause := firstPause; ; {
		if err != nil && ctx.Err() == nil {
			log.Printf("%s: %v", c.at, err)
		}
		if errors.Is(err, errGone) {
			go c.daemon.dropGone(c.at, c.record) // which waits for this goroutine's end
			return
		}
		next := time.Now().Add(pause)
		if l, applied := c.lease(); l != nil && !l.Expired(tried) && l.Same(applied) {
			next, pause = nextTime(l, tried), firstPause
		} else {
			pause = min(2*pause, longestPause)
		}
		var alarm <-chan time.Time // none for a lease for good
		if !next.IsZero() {
			alarm = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return
		case <-alarm:
		}
		tried = time.Now()
		err = guard(func() error { return c.tend(ctx) })
	}
}

// tend does what is to be done about a lease at one of its times.
func (c keeper) tend(ctx context.Context) error {
	k, err := c.open()
	if err != nil {
		return err
	}
	defer k.Close()
	l, applied := c.lease()
	switch {
	case l == nil || l.Expired(time.Now()):
		return c.replace(ctx, k, l)
	case !l.Same(applied) && (l.Renew.IsZero() || time.Now().Before(l.Renew)):
		return c.apply(k, l) // which was not possible before
	}
	step, cancel := context.WithDeadline(ctx, limit(l, time.Now()))
	defer cancel()
	extended, err := c.client.Extend(step, k, l)
	if errors.Is(err, client.ErrRefused) {
		log.Printf("%s: %v", c.at, err)
		return c.replace(ctx, k, l)
	}
	if err != nil {
		return err
	}
	return c.apply(k, extended)
}

// replace takes a lost address from the pod at once, and then gets another lease:
// the same address where the server can give it.
func (c keeper) replace(ctx context.Context, k *kernel.Kernel, lost *client.Lease) error {
	var requested netip.Addr
	if lost != nil {
		log.Printf("%s: %v is lost", c.at, lost.Address)
		requested = lost.Address.Addr()
	}
	if err := c.apply(k, nil); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, min(c.daemon.Limit, longestPause))
	defer cancel()
	l, err := c.client.Acquire(ctx, k, requested)
	if err == nil {
		return c.apply(k, l)
	}
	if l != nil {
		err = errors.Join(err, c.client.Release(k, l, c.segment()))
	}
	return err
}

// apply brings the pod to a lease, nil for none: first in the record, so that
// whatever happens it is released, and then on the interface.
func (c keeper) apply(k *kernel.Kernel, l *client.Lease) error {
	if err := c.update(func(r *Record) { r.Leases[c.family] = l }); err != nil {
		return err
	}
	_, applied := c.lease()
	if l.Same(applied) {
		return nil
	}
	if err := c.change(k, applied, l); err != nil {
		return err
	}
	if l != nil {
		log.Printf("%s: %v", c.at, l)
	}
	return c.update(func(r *Record) { r.Applied[c.family] = l })
}

// limit is when an attempt to extend a lease ends: at the Rebind time, from which
// on any server is asked, or at the Expire time.
func limit(l *client.Lease, now time.Time) time.Time {
	if now.Before(l.Rebind) {
		return l.Rebind
	}
	return l.Expire
}

// nextTime is when something is to be done about a lease after an attempt: never,
// or at its Renew time, and then, as long as nobody answers, whenever half of
// what is left until its Rebind time and its Expire time has passed (RFC 2131
// section 4.4.5), but not more often than each minute, or an eighth of a short
// lease.
func nextTime(l *client.Lease, tried time.Time) time.Time {
	if l.Expire.IsZero() || tried.Before(l.Renew) {
		return l.Renew
	}
	until := limit(l, tried)
	least := max(time.Second, min(time.Minute, l.Expire.Sub(l.Renew)/8))
	next := tried.Add(max(until.Sub(tried)/2, least))
	if next.After(until) {
		return until
	}
	return next
}
