// Package daemon is the daemon of the dhcp plugin: it gets leases for pods, keeps
// them alive as long as the pods live, and releases them.
//
// Between a lease's times it holds nothing of a pod, no socket, no namespace and
// no thread: it opens the pod's namespace when there is something to say.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/cni/conf"
	"github.com/catena-cni/catena/internal/ipam/dhcp/client"
	"github.com/catena-cni/catena/internal/ipam/dhcp/rpc"
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

	life        context.Context
	mu          sync.Mutex
	attachments map[name.Attachment]*attachment
	// dropping has room for the releases that are under way of pods that are gone.
	dropping chan struct{}
}

// drops is how many leases of pods that are gone are released at the same time.
// After a boot all pods are gone, and each release may need a link of its own.
const drops = 4

// The methods. Allocate and Release are upstream's.
const (
	MethodAllocate = "DHCP.Allocate"
	MethodRelease  = "DHCP.Release"
	MethodCheck    = "DHCP.Check"
	MethodGC       = "DHCP.GC"
)

// Methods is what the daemon offers.
func (d *Daemon) Methods() rpc.Methods[Args] {
	return rpc.Methods[Args]{
		MethodAllocate: func(ctx context.Context, a Args) (any, error) { return d.allocate(ctx, a) },
		MethodRelease:  func(ctx context.Context, a Args) (any, error) { return struct{}{}, d.release(ctx, a) },
		MethodCheck:    func(ctx context.Context, a Args) (any, error) { return d.check(ctx, a) },
		MethodGC:       func(ctx context.Context, a Args) (any, error) { return struct{}{}, d.collect(ctx, a) },
	}
}

func (d *Daemon) records() state.Records[*Record] { return state.Records[*Record]{Folder: d.State} }

// Start goes on with the leases of the records. Those of pods that are gone are
// released. The daemon works until life ends.
func (d *Daemon) Start(life context.Context) error {
	d.life, d.attachments, d.dropping = life, map[name.Attachment]*attachment{}, make(chan struct{}, drops)
	all, damaged, err := d.records().All()
	if err != nil {
		return fmt.Errorf("read the leases in %s: %w", d.State, err)
	}
	if damaged != nil {
		log.Printf("left alone: %v", damaged)
	}
	for _, r := range all {
		at, c, _ := r.Args.read()
		d.attachments[at] = d.attachment(at)
		d.attachments[at].use(r, c)
	}
	for _, a := range slices.Collect(maps.Values(d.attachments)) { // which change from now on
		log.Printf("%s: going on with %s", a.at, a.leases())
		a.lock <- struct{}{} // a pod that is gone is not dropped before all its keepers run
		a.keep(true)
		<-a.lock
	}
	return nil
}

// allocate gives what the attachment has, or gets it a lease. It stops when the
// plugin goes away: nobody would use the lease.
func (d *Daemon) allocate(ctx context.Context, a Args) (*cni.Result, error) {
	r, err := d.begin(ctx, a)
	if err != nil {
		return nil, err
	}
	defer r.end()
	if r.record != nil {
		result, err := r.current()
		if !errors.Is(err, errGone) {
			return result, err
		}
		r.release()
	}
	if err := r.acquire(nil); err != nil {
		return nil, err
	}
	if r.Err() != nil { // at the last moment
		r.release()
		return nil, context.Cause(r)
	}
	return r.keep(), nil
}

// NoLease begins the error of a check that found none.
const NoLease = "no lease is kept"

// check gives what the attachment has, as it is now. A pod that has addresses of
// a lease that nobody keeps, as one that upstream's daemon got it for has, is
// taken over: the server gives it the same ones again.
func (d *Daemon) check(ctx context.Context, a Args) (*cni.Result, error) {
	r, err := d.begin(ctx, a)
	if err != nil {
		return nil, err
	}
	defer r.end()
	none := func(err error) error { return fmt.Errorf("%s for %s in %s: %w", NoLease, r.at, r.args.Netns, err) }
	if r.record != nil {
		result, err := r.current()
		if errors.Is(err, errGone) {
			err = none(err)
		}
		return result, err
	}
	if err := r.adopt(); err != nil {
		return nil, none(err)
	}
	return r.keep(), nil // also where nobody waits: the pod lives
}

// release ends what the attachment has or is about to get. An unknown one has no
// lease, which is success.
func (d *Daemon) release(ctx context.Context, a Args) error {
	at, _, err := a.read()
	if at.ContainerID == "" || at.Network == "" {
		return err
	}
	return d.forget(ctx, at)
}

func (d *Daemon) forget(ctx context.Context, at name.Attachment) error {
	d.interrupt(at)
	return d.drop(ctx, at, func(*Record) bool { return true })
}

// drop releases the leases of an attachment, if they are those that are meant.
func (d *Daemon) drop(ctx context.Context, at name.Attachment, meant func(*Record) bool) error {
	a, unlock, err := d.lock(ctx, at, func() {})
	if err != nil {
		return err
	}
	defer unlock()
	if a.record != nil && meant(a.record) {
		a.release()
	}
	return nil
}

// dropGone drops the leases of a record whose pod is gone, unless a request has
// done so. Where the daemon ends before that, the next one does.
func (d *Daemon) dropGone(at name.Attachment, gone *Record) {
	d.dropping <- struct{}{}
	defer func() { <-d.dropping }()
	_ = d.drop(d.life, at, func(r *Record) bool { return r == gone })
}

// collect releases the leases of a network's attachments that are not valid, or,
// where nobody says which are, of those whose pods are gone.
func (d *Daemon) collect(ctx context.Context, a Args) error {
	var c cni.Conf
	if err := conf.Decode(a.StdinData, &c); err != nil {
		return err
	}
	valid, given := (&cni.Request{Attachment: name.Attachment{Network: c.Name}, Conf: c}).ValidAttachments()
	var errs []error
	for _, at := range d.of(c.Name) {
		switch {
		case !given:
			errs = append(errs, d.drop(ctx, at, (*Record).Abandoned))
		case !slices.Contains(valid, at):
			errs = append(errs, d.forget(ctx, at))
		}
	}
	return errors.Join(errs...)
}

// of lists a network's attachments.
func (d *Daemon) of(network string) (out []name.Attachment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for at := range d.attachments {
		if at.Network == network {
			out = append(out, at)
		}
	}
	return out
}
