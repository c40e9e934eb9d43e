package dhcpd

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/dhcp"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/name"
)

// client speaks for an attachment in one family.
type client struct {
	family string
	dhcp.Client
}

// holder keeps the leases of one attachment: each family's in a goroutine of
// its own, which sleeps until the lease's next time.
type holder struct {
	at       name.Attachment
	clients  []client
	priority int
	disk     records
	limit    time.Duration
	// gone is called when the pod turns out to be.
	gone func(*holder)

	mu     sync.Mutex
	record *Record

	stop    context.CancelFunc
	keepers sync.WaitGroup
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

func leaseText(l *dhcp.Lease) string {
	if l.Expire.IsZero() {
		return fmt.Sprintf("%v for good", l.Address)
	}
	return fmt.Sprintf("%v until %s", l.Address, l.Expire.Format(time.RFC3339))
}

func (h *holder) lease(family string) *dhcp.Lease {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.record.Leases[family]
}

// set writes a lease down, before it counts.
func (h *holder) set(family string, l *dhcp.Lease) error {
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

// current is the result, unless it was for another pod than the one at a path,
// or for one that is not there any more.
func (h *holder) current(netns string) (*cni.Result, bool) {
	if h.record.Args.Netns != netns {
		return nil, false
	}
	if h.present() != nil {
		return nil, false
	}
	for _, c := range h.clients {
		if h.lease(c.family) == nil {
			return nil, false
		}
	}
	return h.result(), true
}

// acquire gets the first leases, of all families at the same time, or none. The
// pod's MTU is set here; its addresses are the plugin's to set.
func (h *holder) acquire(ctx context.Context) error {
	errs := make([]error, len(h.clients))
	var all sync.WaitGroup
	for i, c := range h.clients {
		all.Go(func() { errs[i] = h.acquireOne(ctx, c) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		h.giveBack()
		return errors.Join(err, h.disk.Remove(h.at.Key()))
	}
	log.Printf("%s: %s", h.at, h)
	return nil
}

func (h *holder) acquireOne(ctx context.Context, c client) error {
	k, err := h.record.openPod()
	if err != nil {
		return err
	}
	defer k.Close()
	l, err := c.Acquire(ctx, k, netip.Addr{})
	if err != nil {
		return fmt.Errorf("IPv%s: %w", c.family, err)
	}
	if err := h.set(c.family, l); err != nil {
		return err
	}
	return lowerMTU(k, h.at.IfName, l.MTU)
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

// keepOne goes from one of a lease's times to the next.
func (h *holder) keepOne(ctx context.Context, c client) {
	err := h.present()
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
		if l := h.lease(c.family); l != nil && !l.Expired(tried) {
			next, pause = nextTime(l, tried), firstPause
		} else {
			pause = min(2*pause, longestPause)
		}
		if !sleep(ctx, next) {
			return
		}
		tried = time.Now()
		err = h.tend(ctx, c)
	}
}

// present looks whether the pod is still there.
func (h *holder) present() error {
	k, err := h.record.openPod()
	if err == nil {
		k.Close()
	}
	return err
}

// tend does what is to be done about a lease at one of its times.
func (h *holder) tend(ctx context.Context, c client) error {
	l := h.lease(c.family)
	if l == nil || l.Expired(time.Now()) {
		return h.reacquire(ctx, c, l)
	}
	return h.extend(ctx, c, l)
}

// extend asks for more time, and brings about what the server changed.
func (h *holder) extend(ctx context.Context, c client, l *dhcp.Lease) error {
	k, err := h.record.openPod()
	if err != nil {
		return err
	}
	defer k.Close()
	now, err := c.Extend(ctx, k, l)
	switch {
	case errors.Is(err, dhcp.ErrRefused):
		log.Printf("%s: %v", h.at, err)
		return h.reacquire(ctx, c, l)
	case err != nil:
		return err
	}
	return h.become(k, c, l, now)
}

// become brings the pod from one lease to another.
func (h *holder) become(k *kernel.Kernel, c client, old, now *dhcp.Lease) error {
	if err := h.set(c.family, now); err != nil {
		return err
	}
	if old != nil && old.Same(now) {
		return nil
	}
	log.Printf("%s: %s", h.at, leaseText(now))
	return h.change(k, old, now)
}

// reacquire takes a lost address from the pod at once, and then gets another
// lease: the same address where the server can give it.
func (h *holder) reacquire(ctx context.Context, c client, lost *dhcp.Lease) error {
	k, err := h.record.openPod()
	if err != nil {
		return err
	}
	defer k.Close()
	var wish netip.Addr
	if lost != nil {
		log.Printf("%s: %v is lost", h.at, lost.Address)
		wish = lost.Address.Addr()
		if err := errors.Join(h.set(c.family, nil), h.change(k, lost, nil)); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, min(h.limit, longestPause))
	defer cancel()
	now, err := c.Acquire(ctx, k, wish)
	if err != nil {
		return err
	}
	return h.become(k, c, nil, now)
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
