package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"time"
)

// Patience is how long answers are waited for.
type Patience struct {
	// Answer bounds the wait of one step of a conversation, after which it begins
	// again.
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

// wait lets a time pass, or returns why the context ended.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(jitter(d)):
		return nil
	}
}

// errAgain is in errors after which a new beginning may succeed.
var errAgain = errors.New("begin again")

// again begins a conversation again until it succeeds, fails in a way that does
// not change, or the context ends.
func again(ctx context.Context, p Patience, try func(first bool) (*Lease, error)) (*Lease, error) {
	var last error
	for pause := p.first(); ; pause = p.next(pause) {
		lease, err := try(last == nil)
		switch {
		case err == nil:
			return lease, nil
		case ctx.Err() != nil, !errors.Is(err, errAgain):
			return nil, errors.Join(err, last)
		}
		last = err
		if err := wait(ctx, pause); err != nil {
			return nil, last
		}
	}
}

// conversation is a way to servers and back, of messages M.
type conversation[M any] interface {
	send(M) error
	// receive gives the next message, nil for what is none, and the hardware
	// address it came from where that can be told.
	receive(ctx context.Context, until time.Time) (*M, net.HardwareAddr, error)
}

// question is what is asked until its answer comes.
type question[M any] struct {
	// message is what is sent after asking for a time.
	message func(elapsed time.Duration) M
	// answers reports whether a message is the answer, or an error where it
	// refuses.
	answers func(*M) (bool, error)
}

// ask sends a question, again and again, until its answer comes or the context
// ends.
func ask[M any](ctx context.Context, p Patience, c conversation[M], q question[M]) (*M, net.HardwareAddr, error) {
	began := time.Now()
	for pause := p.first(); ; pause = p.next(pause) {
		if err := c.send(q.message(time.Since(began))); err != nil {
			return nil, nil, err
		}
		answer, from, err := answerTo(ctx, c, q, time.Now().Add(jitter(pause)))
		if !errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
			return answer, from, err
		}
	}
}

// answerTo waits for the answer to a question, among all that comes by.
func answerTo[M any](ctx context.Context, c conversation[M], q question[M], until time.Time) (*M, net.HardwareAddr, error) {
	for {
		m, from, err := c.receive(ctx, until)
		switch {
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil:
			return nil, nil, ErrSilent
		case err != nil:
			return nil, nil, err
		case m == nil:
			continue
		}
		if ok, err := q.answers(m); ok || err != nil {
			return m, from, err
		}
	}
}
