package daemon

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/ipam/dhcp/client"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// familyClient speaks for an attachment in one family.
type familyClient struct {
	family string
	client.Client
}

// holder keeps the leases of one attachment: each family's in a goroutine of
// its own, which sleeps until the lease's next time.
type holder struct {
	at       name.Attachment
	clients  []familyClient
	priority int
	disk     records
	limit    time.Duration
	// resumed says that it is of a record: the pod may have gone meanwhile.
	resumed bool
	// gone is called when the pod turns out to be.
	gone func(*holder)

	mu     sync.Mutex
	record *Record

	stop    context.CancelFunc
	keepers sync.WaitGroup
}

// abandoned reports whether the pod is provably gone.
func (h *holder) abandoned() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.record != nil && h.record.gone()
}

func (h *holder) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var texts []string
	for _, c := range h.clients {
		if l := h.record.Leases[c.family]; l != nil {
			texts = append(texts, leaseText(l))
		}
	}
	return strings.Join(texts, ", ")
}

func leaseText(l *client.Lease) string {
	if l.Expire.IsZero() {
		return fmt.Sprintf("%v for good", l.Address)
	}
	return fmt.Sprintf("%v until %s", l.Address, l.Expire.Format(time.RFC3339))
}

func (h *holder) lease(family string) *client.Lease {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.record.Leases[family]
}

// set writes a lease down, before it counts.
func (h *holder) set(family string, l *client.Lease) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l == nil {
		delete(h.record.Leases, family)
	} else {
		h.record.Leases[family] = l
	}
	return h.disk.save(h.at, h.record)
}

func (h *holder) result() *cni.Result {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.record.result(h.priority)
}

// current is the result. errGone is in the error where it was for another pod
// than the one at a path, or for one that is not there any more.
func (h *holder) current(netns string) (*cni.Result, error) {
	if h.record.Args.Netns != netns {
		return nil, fmt.Errorf("%w: its namespace was %s", errGone, h.record.Args.Netns)
	}
	if err := h.present(); err != nil {
		return nil, err
	}
	for _, c := range h.clients {
		if h.lease(c.family) == nil {
			return nil, fmt.Errorf("%s has lost its IPv%s lease, and a server is looked for", h.at, c.family)
		}
	}
	return h.result(), nil
}

// open opens the pod, and remembers the address that its interface has now.
func (h *holder) open() (*kernel.Kernel, error) {
	k, l, err := h.record.openPod()
	if err == nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.record.MAC = client.MAC(slices.Clone(l.MAC))
	}
	return k, err
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

// acquire gets the first leases, of all families at the same time, or none. The
// pod's MTU is set here; its addresses are the plugin's to set.
func (h *holder) acquire(ctx context.Context, wish map[string]netip.Addr) error {
	errs := make([]error, len(h.clients))
	var all sync.WaitGroup
	for i, c := range h.clients {
		all.Go(func() { errs[i] = guard(func() error { return h.acquireOne(ctx, c, wish[c.family]) }) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		h.giveBack()
		return errors.Join(err, h.disk.Remove(h.at.Key()))
	}
	log.Printf("%s: %s", h.at, h)
	return nil
}

func (h *holder) acquireOne(ctx context.Context, c familyClient, wish netip.Addr) error {
	k, err := h.open()
	if err != nil {
		return err
	}
	defer k.Close()
	l, err := c.Acquire(ctx, k, wish)
	if err != nil {
		return fmt.Errorf("IPv%s: %w", c.family, err)
	}
	h.applied(c.family, l)
	if err := h.set(c.family, l); err != nil {
		return err
	}
	return lowerMTU(k, h.at.IfName, l.MTU)
}

// applied remembers what the interface has, nil for nothing.
func (h *holder) applied(family string, l *client.Lease) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.record.Applied[family] = l
}

// unsettled is what the interface has, where that is not the lease.
func (h *holder) unsettled(family string) (has *client.Lease, is bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	has, l := h.record.Applied[family], h.record.Leases[family]
	if has == nil || l == nil {
		return has, has != l
	}
	return has, !has.Same(l)
}

// keep begins to keep the leases, until end or the daemon's end.
func (h *holder) keep(life context.Context) {
	ctx, stop := context.WithCancel(life)
	h.stop = stop
	for _, c := range h.clients {
		h.keepers.Go(func() { h.keepOne(ctx, c) })
	}
}

// Between attempts to get another lease in the place of one that is lost.
const (
	firstPause   = 2 * time.Second
	longestPause = time.Minute
)

// keepOne goes from one of a lease's times to the next. After an ADD it does not
// open the pod once more: who unmounts the namespace next would find it busy.
func (h *holder) keepOne(ctx context.Context, c familyClient) {
	var err error
	if h.resumed {
		err = h.present()
	}
	var tried time.Time
	for pause := firstPause; ; {
		if err != nil && ctx.Err() == nil {
			log.Printf("%s: %v", h.at, err)
		}
		if errors.Is(err, errGone) {
			h.gone(h)
			return
		}
		next := time.Now().Add(pause)
		_, unsettled := h.unsettled(c.family)
		if l := h.lease(c.family); l != nil && !l.Expired(tried) && !unsettled {
			next, pause = nextTime(l, tried), firstPause
		} else {
			pause = min(2*pause, longestPause)
		}
		if !sleep(ctx, next) {
			return
		}
		tried = time.Now()
		err = guard(func() error { return h.tend(ctx, c) })
	}
}

// present looks whether the pod is still there.
func (h *holder) present() error {
	k, err := h.open()
	if err == nil {
		k.Close()
	}
	return err
}

// tend does what is to be done about a lease at one of its times.
func (h *holder) tend(ctx context.Context, c familyClient) error {
	l := h.lease(c.family)
	_, unsettled := h.unsettled(c.family)
	switch {
	case l == nil || l.Expired(time.Now()):
		return h.reacquire(ctx, c, l)
	case unsettled && time.Now().Before(l.Renew):
		return h.settle(c)
	}
	return h.extend(ctx, c, l)
}

// settle brings the interface to what the lease is, where that has failed.
func (h *holder) settle(c familyClient) error {
	k, err := h.open()
	if err != nil {
		return err
	}
	defer k.Close()
	return h.become(k, c, h.lease(c.family))
}

// extend asks for more time, and brings about what the server changed.
func (h *holder) extend(ctx context.Context, c familyClient, l *client.Lease) error {
	k, err := h.open()
	if err != nil {
		return err
	}
	defer k.Close()
	now, err := c.Extend(ctx, k, l)
	switch {
	case errors.Is(err, client.ErrRefused):
		log.Printf("%s: %v", h.at, err)
		return h.reacquire(ctx, c, l)
	case err != nil:
		return err
	}
	return h.become(k, c, now)
}

// become brings the pod to a lease, nil for none: first in the record, so that
// whatever happens it is given back, and then on the interface.
func (h *holder) become(k *kernel.Kernel, c familyClient, now *client.Lease) error {
	if err := h.set(c.family, now); err != nil {
		return err
	}
	has, unsettled := h.unsettled(c.family)
	if !unsettled {
		return nil
	}
	if err := h.change(k, has, now); err != nil {
		return err
	}
	if now != nil {
		log.Printf("%s: %s", h.at, leaseText(now))
	}
	h.applied(c.family, now)
	return h.set(c.family, now)
}

// reacquire takes a lost address from the pod at once, and then gets another
// lease: the same address where the server can give it.
func (h *holder) reacquire(ctx context.Context, c familyClient, lost *client.Lease) error {
	k, err := h.open()
	if err != nil {
		return err
	}
	defer k.Close()
	var wish netip.Addr
	if lost != nil {
		log.Printf("%s: %v is lost", h.at, lost.Address)
		wish = lost.Address.Addr()
	}
	if err := h.become(k, c, nil); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, min(h.limit, longestPause))
	defer cancel()
	now, err := c.Acquire(ctx, k, wish)
	if err != nil {
		return err
	}
	return h.become(k, c, now)
}

// end stops keeping the leases, gives them back and forgets them.
func (h *holder) end() {
	if h.stop != nil {
		h.stop()
		h.keepers.Wait()
	}
	log.Printf("%s: giving back %s", h.at, h)
	h.giveBack()
	if err := h.disk.Remove(h.at.Key()); err != nil {
		log.Printf("%s: %v", h.at, err)
	}
}

// giveBack tells the servers. None answers, and one that does not hear of it
// waits for the lease's end.
func (h *holder) giveBack() {
	k, err := h.record.open()
	if err != nil {
		log.Printf("%s: %v", h.at, err)
		k = kernel.OpenHost("")
	}
	defer k.Close()
	for _, c := range h.clients {
		l := h.lease(c.family)
		if l == nil || l.Expired(time.Now()) {
			continue
		}
		if err := c.Release(k, l, net.HardwareAddr(h.record.MAC), h.record.Segment); err != nil {
			log.Printf("%s: %v", h.at, err)
		}
	}
}

// sleep waits for a time, the zero time for ever. It returns false when the
// context has ended.
func sleep(ctx context.Context, until time.Time) bool {
	var alarm <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		alarm = t.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-alarm:
		return true
	}
}
