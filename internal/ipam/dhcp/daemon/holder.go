package daemon

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/ipam/dhcp/client"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// holder holds the leases of one attachment.
type holder struct {
	daemon   *Daemon
	at       name.Attachment
	keepers  []keeper
	priority int

	mu     sync.Mutex // guards what changes in the record: Segment.MAC, Leases and Applied
	record *Record

	stop    context.CancelFunc
	running sync.WaitGroup
}

func (d *Daemon) holder(c Conf, r *Record) *holder {
	h := &holder{daemon: d, at: r.Of(), record: r, priority: c.IPAM.Priority}
	for _, family := range c.families {
		k := keeper{holder: h, family: family}
		if family == six {
			k.client = client.NewSix(h.at, d.Patience)
		} else {
			k.client = client.Four{
				Link: h.at.IfName, ID: client.ClientID(h.at), Provide: c.provide, Ask: c.ask, Broadcast: d.Broadcast, Patience: d.Patience,
			}
		}
		h.keepers = append(h.keepers, k)
	}
	return h
}

func (h *holder) String() string {
	var texts []string
	for _, c := range h.keepers {
		if l, _ := c.lease(); l != nil {
			texts = append(texts, l.String())
		}
	}
	return strings.Join(texts, ", ")
}

// update changes the record, also on disk.
func (h *holder) update(change func(*Record)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h.record)
	return h.daemon.records().Replace(h.record)
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
	for _, c := range h.keepers {
		if l, _ := c.lease(); l == nil {
			return nil, fmt.Errorf("%s has lost its IPv%s lease, and a server is looked for", h.at, c.family)
		}
	}
	return h.result(), nil
}

// open opens the pod, and remembers the address that its interface has now.
func (h *holder) open() (*kernel.Kernel, error) {
	k, l, err := h.record.openPod()
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.record.Segment.MAC = l.MAC.String()
	return k, nil
}

// present looks whether the pod is still there.
func (h *holder) present() error {
	k, err := h.open()
	if err == nil {
		k.Close()
	}
	return err
}

// acquire gets the first leases, of all families at the same time, or none.
func (h *holder) acquire(ctx context.Context, requested map[string]netip.Addr) error {
	errs := make([]error, len(h.keepers))
	var all sync.WaitGroup
	for i, c := range h.keepers {
		all.Go(func() { errs[i] = guard(func() error { return c.acquire(ctx, requested[c.family]) }) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		h.release()
		return errors.Join(err, h.daemon.records().Remove(h.at))
	}
	log.Printf("%s: %s", h.at, h)
	return nil
}

// keep begins to keep the leases, until end or the daemon's end. The pod of leases
// that were resumed may be gone.
func (h *holder) keep(resumed bool) {
	ctx, stop := context.WithCancel(h.daemon.life)
	h.stop = stop
	for _, c := range h.keepers {
		h.running.Go(func() { c.keep(ctx, resumed) })
	}
}

// end stops keeping the leases, releases them and forgets them.
func (h *holder) end() {
	if h.stop != nil {
		h.stop()
		h.running.Wait()
	}
	log.Printf("%s: giving back %s", h.at, h)
	h.release()
	if err := h.daemon.records().Remove(h.at); err != nil {
		log.Printf("%s: %v", h.at, err)
	}
}

// release tells the servers. None answers, and one that does not hear of it waits
// for the lease's end.
func (h *holder) release() {
	k, err := h.record.open()
	if err != nil {
		log.Printf("%s: %v", h.at, err)
		k = kernel.OpenHost("")
	}
	defer k.Close()
	for _, c := range h.keepers {
		l, _ := c.lease()
		if l == nil || l.Expired(time.Now()) {
			continue
		}
		if err := c.client.Release(k, l, h.record.Segment); err != nil {
			log.Printf("%s: %v", h.at, err)
		}
	}
}
