// Package daemon is the daemon of the dhcp plugin: it gets leases for pods, keeps
// them alive as long as the pods live, and gives them back.
//
// Between a lease's times it holds nothing of a pod, no socket, no namespace and
// no thread: it opens the pod's namespace when there is something to say.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/cni/conf"
	"github.com/catena-cni/catena/internal/ipam/dhcp/client"
	"github.com/catena-cni/catena/internal/ipam/dhcp/rpc"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// Daemon is the daemon's state: the attachments that have leases.
type Daemon struct {
	// HostPrefix stands before every path that the plugin gives, for a daemon in a
	// container that sees the host's files below it.
	HostPrefix string
	// State is the folder of the records.
	State state.Folder
	// Broadcast has servers answer to everybody; Patience is how long answers are
	// waited for, and Limit how long a pod waits for its lease at most.
	Broadcast bool
	Patience  client.Patience
	Limit     time.Duration

	life  context.Context
	mu    sync.Mutex
	desks map[name.Attachment]*desk
	// adding are the calls that want a lease, also those that queue up.
	adding map[*adding]bool
	// dropping has room for those who drop.
	dropping chan struct{}
}

// adding is a call that a release of its attachment ends.
type adding struct {
	at   name.Attachment
	stop context.CancelFunc
}

// desk is where the calls about one attachment queue up.
type desk struct {
	// turn has room for one: who put a token into it may change the rest.
	turn chan struct{}
	// waiting counts who is there or queues up.
	waiting int
	held    *holder
}

// The methods. Allocate and Release are upstream's.
const (
	MethodAllocate = "DHCP.Allocate"
	MethodRelease  = "DHCP.Release"
	MethodCheck    = "DHCP.Check"
	MethodGC       = "DHCP.GC"
)

// Start goes on with the leases of the records. Those of pods that have gone are
// given back. The daemon works until life ends.
func (d *Daemon) Start(life context.Context) error {
	d.life, d.desks, d.adding = life, map[name.Attachment]*desk{}, map[*adding]bool{}
	d.dropping = make(chan struct{}, drops)
	all, err := records{d.State}.load()
	if all == nil {
		return err
	}
	if err != nil {
		log.Print(err)
	}
	var held []*holder
	for at, r := range all {
		_, c, _ := r.Args.read()
		h := d.holder(at, c, r)
		h.resumed = true
		d.desks[at] = &desk{turn: make(chan struct{}, 1), held: h}
		held = append(held, h)
	}
	for _, h := range held { // which come to the desks by themselves from now on
		log.Printf("%s: going on with %s", h.at, h)
		h.keep(life)
	}
	return nil
}

// drops is how many leases are given back at the same time of pods that have
// gone, as after a boot all have: each may need a link of its own for a moment.
const drops = 4

// drop ends a holder whose pod has gone, unless a call has done so.
func (d *Daemon) drop(h *holder) {
	d.dropping <- struct{}{}
	defer func() { <-d.dropping }()
	s, leave, err := d.queue(d.life, h.at)
	if err != nil {
		return // the daemon ends; the next one drops it
	}
	defer leave()
	if s.held == h {
		s.held = nil
		h.end()
	}
}

// Methods is what the daemon offers.
func (d *Daemon) Methods() rpc.Methods[Args] {
	return rpc.Methods[Args]{
		MethodAllocate: func(ctx context.Context, a Args) (any, error) { return d.allocate(ctx, a) },
		MethodRelease:  func(ctx context.Context, a Args) (any, error) { return struct{}{}, d.release(ctx, a) },
		MethodCheck:    func(ctx context.Context, a Args) (any, error) { return d.check(ctx, a) },
		MethodGC:       func(ctx context.Context, a Args) (any, error) { return struct{}{}, d.collect(ctx, a) },
	}
}

// queue waits for one's turn at the desk of an attachment.
func (d *Daemon) queue(ctx context.Context, at name.Attachment) (s *desk, leave func(), err error) {
	d.mu.Lock()
	s = d.desks[at]
	if s == nil {
		s = &desk{turn: make(chan struct{}, 1)}
		d.desks[at] = s
	}
	s.waiting++
	d.mu.Unlock()
	select {
	case s.turn <- struct{}{}:
		return s, func() { <-s.turn; d.leave(at, s) }, nil
	case <-ctx.Done():
		d.leave(at, s)
		return nil, nil, fmt.Errorf("%s: another call is under way: %w", at, context.Cause(ctx))
	}
}

// leave takes a desk away that nobody needs any more.
func (d *Daemon) leave(at name.Attachment, s *desk) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.waiting--; s.waiting == 0 && s.held == nil {
		delete(d.desks, at)
	}
}

// begin is the beginning of a call that wants a lease: what bounds it, and what
// is to be done at its end.
func (d *Daemon) begin(ctx context.Context, at name.Attachment) (bounded context.Context, end func()) {
	bounded, stop := context.WithTimeout(ctx, d.Limit)
	a := &adding{at, stop}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.adding[a] = true
	return bounded, func() {
		stop()
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.adding, a)
	}
}

// interrupt ends the calls that want a lease for an attachment.
func (d *Daemon) interrupt(at name.Attachment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for a := range d.adding {
		if a.at == at {
			a.stop()
		}
	}
}

// visit is a call that may end with a lease: at the desk, and within the time that
// a pod waits.
type visit struct {
	context.Context
	at   name.Attachment
	conf Conf
	args Args
	desk *desk
}

// enter begins a visit, and gives what is to be done at its end.
func (d *Daemon) enter(ctx context.Context, a Args) (visit, func(), error) {
	at, c, err := a.read()
	if err != nil {
		return visit{}, nil, err
	}
	a.Netns = d.HostPrefix + a.Netns
	ctx, end := d.begin(ctx, at)
	desk, leave, err := d.queue(ctx, at)
	if err != nil {
		end()
		return visit{}, nil, err
	}
	return visit{ctx, at, c, a, desk}, func() { leave(); end() }, nil
}

// hold ends a visit with a lease, unless nobody waits for it any more: the plugin
// has gone, or a DEL has come, at the last moment.
func (d *Daemon) hold(v visit, h *holder) (*cni.Result, error) {
	if v.Err() != nil {
		h.end()
		return nil, context.Cause(v)
	}
	v.desk.held = h
	h.keep(d.life)
	return h.result(), nil
}

// allocate gives what the attachment has, or gets it a lease. It stops when the
// plugin goes away: nobody would use the lease.
func (d *Daemon) allocate(ctx context.Context, a Args) (*cni.Result, error) {
	v, leave, err := d.enter(ctx, a)
	if err != nil {
		return nil, err
	}
	defer leave()
	if v.desk.held != nil {
		result, err := v.desk.held.current(v.args.Netns)
		if !errors.Is(err, errGone) {
			return result, err
		}
		v.desk.held.end()
		v.desk.held = nil
	}
	h, err := d.acquire(v, nil)
	if err != nil {
		return nil, err
	}
	return d.hold(v, h)
}

// acquire gets the leases of all families, or none, and keeps them on disk. The
// addresses that are wished for are by family.
func (d *Daemon) acquire(v visit, wish map[string]netip.Addr) (*holder, error) {
	a := v.args
	k, err := kernel.Open(a.Netns)
	if err != nil {
		return nil, err
	}
	defer k.Close()
	if !k.Has(kernel.Pod) {
		return nil, fmt.Errorf("network namespace %s: there is none: %w", a.Netns, fs.ErrNotExist)
	}
	r := &Record{Args: a, Conf: a.StdinData, Leases: map[string]*client.Lease{}, Applied: map[string]*client.Lease{}}
	if r.NetnsID, err = kernel.LookNetns(a.Netns); err != nil {
		return nil, err
	}
	if r.Boot, err = kernel.BootID(); err != nil {
		return nil, err
	}
	l, err := k.Link(kernel.Pod, a.IfName)
	if err != nil {
		return nil, err
	}
	r.MAC = client.MAC(slices.Clone(l.MAC))
	if r.Segment, err = client.SegmentOf(k, l); err != nil {
		return nil, err
	}
	h := d.holder(v.at, v.conf, r)
	if err := h.acquire(v, wish); err != nil {
		return nil, err
	}
	return h, nil
}

// holder is what keeps the leases of an attachment.
func (d *Daemon) holder(at name.Attachment, c Conf, r *Record) *holder {
	h := &holder{at: at, record: r, priority: c.IPAM.Priority, disk: records{d.State}, limit: d.Limit}
	h.gone = func(h *holder) { go d.drop(h) }
	for _, family := range c.families {
		h.clients = append(h.clients, familyClient{family, d.client(family, at, c)})
	}
	return h
}

func (d *Daemon) client(family string, at name.Attachment, c Conf) client.Client {
	if family == six {
		return client.NewSix(at, d.Patience)
	}
	return client.Four{
		Link: at.IfName, ID: client.ClientID(at), Provide: c.provide, Ask: c.ask, Broadcast: d.Broadcast, Patience: d.Patience,
	}
}

// release ends what the attachment has or is about to get. What it does not
// know is none, and success.
func (d *Daemon) release(ctx context.Context, a Args) error {
	at, _, err := a.read()
	if at.ContainerID == "" || at.Network == "" {
		return err
	}
	return d.forget(ctx, at)
}

func (d *Daemon) forget(ctx context.Context, at name.Attachment) error {
	d.interrupt(at)
	desk, leave, err := d.queue(ctx, at)
	if err != nil {
		return err
	}
	defer leave()
	if desk.held != nil {
		desk.held.end()
		desk.held = nil
	}
	return nil
}

// NoLease begins the error of a check that found none.
const NoLease = "no lease is kept"

// check gives what the attachment has, as it is now. A pod that has addresses of
// a lease that nobody keeps, as one that upstream's daemon got it for has, is
// taken over: the server gives it the same ones again.
func (d *Daemon) check(ctx context.Context, a Args) (*cni.Result, error) {
	v, leave, err := d.enter(ctx, a)
	if err != nil {
		return nil, err
	}
	defer leave()
	none := func(err error) error { return fmt.Errorf("%s for %s in %s: %w", NoLease, v.at, v.args.Netns, err) }
	if v.desk.held != nil {
		result, err := v.desk.held.current(v.args.Netns)
		if errors.Is(err, errGone) {
			err = none(err)
		}
		return result, err
	}
	h, err := d.adopt(v)
	if err != nil {
		return nil, none(err)
	}
	return d.hold(v, h)
}

// adopt gets leases for the addresses that a pod has by the previous result, or
// none.
func (d *Daemon) adopt(v visit) (*holder, error) {
	wish, err := v.args.lent(v.at, v.conf)
	if err != nil {
		return nil, err
	}
	h, err := d.acquire(v, wish)
	if err != nil {
		return nil, err
	}
	for family, address := range wish {
		if got := h.lease(family).Address.Addr(); got != address {
			h.end()
			return nil, fmt.Errorf("the pod has %v, and the server gives it %v", address, got)
		}
	}
	return h, nil
}

// collect gives back the leases of a network's attachments that are not valid,
// or, where nobody says which are, of those whose pods have gone.
func (d *Daemon) collect(ctx context.Context, a Args) error {
	var c cni.Conf
	if err := conf.Decode(a.StdinData, &c); err != nil {
		return err
	}
	valid, given := (&cni.Request{Attachment: name.Attachment{Network: c.Name}, Conf: c}).ValidAttachments()
	var errs []error
	for _, at := range d.of(c.Name) {
		if given && !slices.Contains(valid, at) {
			errs = append(errs, d.forget(ctx, at))
		} else if !given {
			errs = append(errs, d.forgetDead(ctx, at))
		}
	}
	return errors.Join(errs...)
}

// of lists a network's attachments.
func (d *Daemon) of(network string) (out []name.Attachment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for at := range d.desks {
		if at.Network == network {
			out = append(out, at)
		}
	}
	return out
}

// forgetDead is forget for an attachment whose pod has gone.
func (d *Daemon) forgetDead(ctx context.Context, at name.Attachment) error {
	desk, leave, err := d.queue(ctx, at)
	if err != nil {
		return err
	}
	defer leave()
	if desk.held != nil && desk.held.abandoned() {
		desk.held.end()
		desk.held = nil
	}
	return nil
}
