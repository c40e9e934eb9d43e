package daemon

import (
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/cni/conf"
	"github.com/catena-cni/catena/internal/fact/addr"
	"github.com/catena-cni/catena/internal/ipam/dhcp/client"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// lock waits for the lock of an attachment. Until it is unlocked, a release that
// comes calls interrupted.
func (d *Daemon) lock(ctx context.Context, at name.Attachment, interrupted func()) (a *attachment, unlock func(), err error) {
	d.mu.Lock()
	if a = d.attachments[at]; a == nil {
		a = d.attachment(at)
		d.attachments[at] = a
	}
	a.refs++
	stop := context.AfterFunc(a.wanted, interrupted)
	d.mu.Unlock()
	unref := func() {
		stop()
		d.mu.Lock()
		defer d.mu.Unlock()
		if a.refs--; a.refs == 0 && a.record == nil {
			a.interrupt()
			delete(d.attachments, at)
		}
	}
	select {
	case a.lock <- struct{}{}:
		return a, func() { <-a.lock; unref() }, nil
	case <-ctx.Done():
		unref()
		return nil, nil, fmt.Errorf("%s: another call is under way: %w", at, context.Cause(ctx))
	}
}

// interrupt ends the requests for a lease of an attachment.
func (d *Daemon) interrupt(at name.Attachment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.attachments[at]; a != nil {
		a.interrupt()
		a.wanted, a.interrupt = context.WithCancel(d.life)
	}
}

// request is a call that may end with a lease. It has the attachment's lock, and
// ends at the daemon's limit, when a release comes, and when the plugin goes away.
type request struct {
	context.Context
	*attachment
	conf Conf
	args Args
	end  func()
}

func (d *Daemon) begin(ctx context.Context, a Args) (*request, error) {
	at, c, err := a.read()
	if err != nil {
		return nil, err
	}
	a.Netns = d.HostPrefix + a.Netns
	ctx, stop := context.WithTimeout(ctx, d.Limit)
	locked, unlock, err := d.lock(ctx, at, stop)
	if err != nil {
		stop()
		return nil, err
	}
	return &request{ctx, locked, c, a, func() { unlock(); stop() }}, nil
}

// current is the result of the leases that the attachment has. errGone is in the
// error where they are for another pod than the one at the path, or for one that is
// not there any more.
func (r *request) current() (*cni.Result, error) {
	if had := r.record.Args.Netns; had != r.args.Netns {
		return nil, fmt.Errorf("%w: its namespace was %s", errGone, had)
	}
	if err := r.present(); err != nil {
		return nil, err
	}
	for _, c := range r.keepers {
		if l, _ := c.lease(); l == nil {
			return nil, fmt.Errorf("%s has lost its IPv%s lease, and a server is looked for", r.at, c.family)
		}
	}
	return r.result(), nil
}

// acquire gets the first leases, of all families at the same time, or none. The
// requested addresses are by family.
func (r *request) acquire(requested map[string]netip.Addr) error {
	record, err := newRecord(r.args)
	if err != nil {
		return err
	}
	r.use(record, r.conf)
	errs := make([]error, len(r.keepers))
	var all sync.WaitGroup
	for i, c := range r.keepers {
		all.Go(func() { errs[i] = guard(func() error { return c.acquire(r, requested[c.family]) }) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		r.spare(requested)
		return errors.Join(err, r.forget())
	}
	log.Printf("%s: %s", r.at, r.leases())
	return nil
}

// spare keeps servers from being told of leases of addresses, by family, that the
// pod has already: it goes on using them until its DEL, whoever keeps them.
func (r *request) spare(has map[string]netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.record.Leases, func(family string, l *client.Lease) bool { return l.Address.Addr() == has[family] })
}

// adopt gets leases for the addresses that a pod has by the previous result, or
// none.
func (r *request) adopt() error {
	requested, err := r.lent()
	if err != nil {
		return err
	}
	if err := r.acquire(requested); err != nil {
		return err
	}
	for _, c := range r.keepers {
		if l, _ := c.lease(); l.Address.Addr() != requested[c.family] {
			r.spare(requested)
			r.release()
			return fmt.Errorf("the pod has %v, and the server gives it %v", requested[c.family], l.Address.Addr())
		}
	}
	return nil
}

// lent are the addresses of a previous result that the pod's interface has, one
// of each family that leases are for.
func (r *request) lent() (map[string]netip.Addr, error) {
	q := cni.Request{Attachment: r.at}
	if err := conf.Decode(r.args.StdinData, &q.Conf); err != nil {
		return nil, err
	}
	prev, err := q.PrevResult()
	if err != nil {
		return nil, err
	}
	k, err := kernel.Open(r.args.Netns)
	if err != nil {
		return nil, err
	}
	defer k.Close()
	have, err := addr.List(k, kernel.Pod, r.at.IfName)
	if err != nil {
		return nil, err
	}
	out := map[string]netip.Addr{}
	for _, ip := range cni.IPsOf(prev, r.at.IfName, r.args.Netns) {
		if p := cni.Prefix(ip.Address); slices.Contains(have, p) {
			out[familyOf(p.Addr())] = p.Addr()
		}
	}
	for _, family := range r.conf.families {
		if !out[family].IsValid() {
			return nil, fmt.Errorf("the pod has no IPv%s address of the result's", family)
		}
	}
	return out, nil
}

// keep keeps the leases and gives the result.
func (r *request) keep() *cni.Result {
	r.attachment.keep(false)
	return r.result()
}
