// Package client gets, extends and releases leases: DHCP for IPv4 (RFC 2131) and
// DHCPv6 (RFC 8415), over an interface of a pod.
package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
)

// Client speaks for one attachment in one family.
type Client interface {
	// Acquire gets a lease, of the requested address where the server can give it,
	// and tries until the context ends. A lease beside an error is one that a server
	// may have given all the same, and is the caller's to release.
	Acquire(ctx context.Context, k *kernel.Kernel, requested netip.Addr) (*Lease, error)
	// Extend asks once for more time: the server that gave the lease, or after
	// its Rebind time any server. The answer may be another lease. ErrSilent and
	// ErrRefused are what else can come of it.
	Extend(ctx context.Context, k *kernel.Kernel, lease *Lease) (*Lease, error)
	// Release gives the lease back: from the pod's interface if that is still
	// there, or else from the host. No server answers.
	Release(k *kernel.Kernel, lease *Lease, segment Segment) error
}

// Patience is how long answers are waited for.
type Patience struct {
	// Answer bounds the wait for one step, after which the exchange begins again.
	Answer time.Duration
	// ResendMax bounds the wait between two sendings of the same message, which
	// begins with a second and doubles (RFC 2131 section 4.1).
	ResendMax time.Duration
}

func (p Patience) first() time.Duration { return min(time.Second, p.ResendMax) }

func (p Patience) next(d time.Duration) time.Duration { return min(2*d, p.ResendMax) }

// jitter keeps pods that started together from asking together again.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.2*float64(d))
}

// retryable is an error after which a new exchange may succeed.
type retryable struct{ error }

// Unwrap gives the error itself.
func (r retryable) Unwrap() error { return r.error }

// session is what is said over one socket to get a lease.
type session interface {
	// request gets a lease, of the requested address where the server can give it.
	// A lease beside an error is what was asked for, and not answered well.
	request(ctx context.Context, requested netip.Addr) (*Lease, error)
	// owner is who has an address already, or empty.
	owner(ctx context.Context, a netip.Addr) (string, error)
	decline(ctx context.Context, l *Lease) error
}

// acquire gets a lease of an address that nobody has. It begins again until it
// succeeds, fails in a way that does not change, or the context ends. An address
// is requested once.
func acquire(ctx context.Context, p Patience, s session, requested netip.Addr) (*Lease, error) {
	var given *Lease // by a server whose answer was lost
	var last error
	for pause := p.first(); ; pause = p.next(pause) {
		lease, err := s.request(ctx, requested)
		switch {
		case err == nil:
			given, err = claim(ctx, s, lease)
		case lease != nil && !errors.Is(err, ErrRefused):
			given = lease
		}
		if err == nil {
			return lease, nil
		}
		if ctx.Err() != nil || !errors.As(err, new(retryable)) {
			return given, errors.Join(err, last)
		}
		requested, last = netip.Addr{}, err
		select {
		case <-ctx.Done():
			return given, last
		case <-time.After(jitter(pause)):
		}
	}
}

// claim gives a lease up whose address somebody has, of whom the server does not
// know.
func claim(ctx context.Context, s session, lease *Lease) (*Lease, error) {
	address := lease.Address.Addr()
	owner, err := s.owner(ctx, address)
	if err != nil || owner == "" {
		return lease, err
	}
	return nil, errors.Join(retryable{fmt.Errorf("%v is in use by %s", address, owner)}, s.decline(ctx, lease))
}

// answerMax is the size of the largest answer that is read: more than is offered
// to a server (option 57), and what fits into an Ethernet frame.
const answerMax = 9216

// conn is the part of a net.PacketConn that an exchange needs.
type conn interface {
	ReadFrom([]byte) (int, net.Addr, error)
	WriteTo([]byte, net.Addr) (int, error)
	SetDeadline(time.Time) error
}

// ask sends a message, again and again, until its answer comes or the context
// ends. The reader gives nil for what is no answer, and an error for a refusal.
//
// nclient4 and nclient6 have such a loop too. It reads in a goroutine of its own:
// a panic there, over what anybody on the segment has sent, would end the daemon
// with the leases of all pods, and an error there, as of a link that went down, is
// lost. It has no longest wait either, and does not tell who sent the answer.
func ask[M any](ctx context.Context, p Patience, c conn, to net.Addr, message func(elapsed time.Duration) []byte, read func([]byte) (*M, error)) (*M, error) {
	defer func() { _ = c.SetDeadline(time.Time{}) }()
	began, buffer := time.Now(), make([]byte, answerMax)
	for pause := p.first(); ; pause = p.next(pause) {
		if err := c.SetDeadline(time.Now().Add(jitter(pause))); err != nil {
			return nil, err
		}
		stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
		_, err := c.WriteTo(message(time.Since(began)), to)
		if errors.Is(err, unix.ENOBUFS) {
			err = nil // a queue that is full loses it, as a network may
		}
		var answer *M
		for n := 0; err == nil && answer == nil; {
			if n, _, err = c.ReadFrom(buffer); err == nil {
				answer, err = read(buffer[:n])
			}
		}
		stop()
		switch {
		case answer != nil:
			return answer, nil
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			return nil, ErrSilent
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return nil, err
		}
	}
}
