package daemon

import (
	"context"
	"log"
	"strings"
	"sync"
	"time"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/ipam/dhcp/client"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// attachment is what the daemon has of an attachment: the lock that its requests
// take turns by, and its leases.
type attachment struct {
	daemon *Daemon
	at     name.Attachment

	// refs counts the requests that have the lock or wait for it. wanted ends when
	// a release comes, and with it the requests for a lease. Daemon.mu guards them.
	refs      int
	wanted    context.Context
	interrupt context.CancelFunc

	// lock has room for one: the request that put a token into it may change what
	// follows. There is no record where there are no leases.
	lock     chan struct{}
	record   *Record
	keepers  []keeper
	priority int
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu sync.Mutex // guards what changes in the record: Segment.MAC, Leases and Applied
}

func (d *Daemon) attachment(at name.Attachment) *attachment {
	a := &attachment{daemon: d, at: at, lock: make(chan struct{}, 1)}
	a.wanted, a.interrupt = context.WithCancel(d.life)
	return a
}

// use takes a record as the attachment's.
func (a *attachment) use(r *Record, c Conf) {
	a.record, a.priority, a.keepers = r, c.IPAM.Priority, nil
	for _, family := range c.families {
		k := keeper{attachment: a, family: family}
		if family == six {
			k.client = client.NewSix(a.at, a.daemon.Patience)
		} else {
			k.client = client.Four{
				Link: a.at.IfName, ID: client.ClientID(a.at), Provide: c.provide, Ask: c.ask, Broadcast: a.daemon.Broadcast, Patience: a.daemon.Patience,
			}
		}
		a.keepers = append(a.keepers, k)
	}
}

// leases are the leases as text.
func (a *attachment) leases() string {
	var texts []string
	for _, c := range a.keepers {
		if l, _ := c.lease(); l != nil {
			texts = append(texts, l.String())
		}
	}
	return strings.Join(texts, ", ")
}

// update changes the record, also on disk.
func (a *attachment) update(change func(*Record)) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(a.record)
	return a.daemon.records().Replace(a.record)
}

func (a *attachment) result() *cni.Result {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.record.result(a.priority)
}

// open opens the pod, and remembers the address that its interface has now.
func (a *attachment) open() (*kernel.Kernel, error) {
	k, l, err := a.record.openPod()
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.record.Segment.MAC = l.MAC.String()
	return k, nil
}

// present looks whether the pod is still there.
func (a *attachment) present() error {
	k, err := a.open()
	if err == nil {
		k.Close()
	}
	return err
}

// keep begins to keep the leases, until release or the daemon's end. The pod of
// leases that were resumed may be gone.
func (a *attachment) keep(resumed bool) {
	ctx, stop := context.WithCancel(a.daemon.life)
	a.stop = stop
	for _, c := range a.keepers {
		a.running.Go(func() { c.keep(ctx, resumed) })
	}
}

// release stops keeping the leases, and gives them back.
func (a *attachment) release() {
	if a.stop != nil {
		a.stop()
		a.running.Wait()
	}
	log.Printf("%s: giving back %s", a.at, a.leases())
	if err := a.forget(); err != nil {
		log.Printf("%s: %v", a.at, err)
	}
}

// forget tells the servers, and has no leases from then on. No server answers, and
// one that does not hear of it waits for the lease's end.
func (a *attachment) forget() error {
	k, err := a.record.open()
	if err != nil {
		log.Printf("%s: %v", a.at, err)
		k = kernel.OpenHost("")
	}
	defer k.Close()
	for _, c := range a.keepers {
		l, _ := c.lease()
		if l == nil || l.Expired(time.Now()) {
			continue
		}
		if err := c.client.Release(k, l, a.record.Segment); err != nil {
			log.Printf("%s: %v", a.at, err)
		}
	}
	a.record, a.keepers, a.stop = nil, nil, nil
	return a.daemon.records().Remove(a.at)
}
