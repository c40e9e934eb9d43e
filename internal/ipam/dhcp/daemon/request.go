package daemon

import (
	"context"
	"fmt"

	"github.com/catena-cni/catena/internal/cni"
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

// keep keeps the leases and gives the result, unless nobody waits for it any more:
// the plugin went away, or a release came, at the last moment.
func (r *request) keep() (*cni.Result, error) {
	if r.Err() != nil {
		r.release()
		return nil, context.Cause(r)
	}
	r.attachment.keep(false)
	return r.result(), nil
}
