package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// patience bounds the wait for one answer. The kernel holds locks that all its
// users share; longer than this no runtime waits for a plugin.
const patience = 30 * time.Second

// rtnetlink is how one side's links, addresses and routes are reached.
type rtnetlink struct {
	handle *netlink.Handle
	// raw is for Ask and Change: the handle's own socket cannot be had, and is not
	// asked for the kernel's words.
	raw *nl.SocketHandle
}

// Handle is the side's rtnetlink in vishvananda/netlink's typed calls.
func (k *Kernel) Handle(s Side) (*netlink.Handle, error) {
	r, err := k.rtnetlink(s)
	if err != nil {
		return nil, err
	}
	return r.handle, nil
}

// The library's calls without a handle give the kernel's words.
var _ = func() bool { nl.EnableErrorMessageReporting = true; return true }()

// Call makes a typed call that changes something. What is refused is asked for
// once more without the handle, on a socket that gives the kernel's words: the
// handle's does not, and an errno alone tells little. The answers that say that
// something is there already, or is not, need none, and no answer (EAGAIN) is no
// refusal. What is there already when it is asked for again was made by the first
// message, whose answer was lost, or by somebody else since: the error is the first.
func (k *Kernel) Call(s Side, call func(*netlink.Handle) error) error {
	h, err := k.Handle(s)
	if err != nil {
		return err
	}
	err = call(h)
	if IsAny(err, nil, unix.EEXIST, unix.ENOENT, unix.ESRCH, unix.ENODEV, unix.EADDRNOTAVAIL, unix.EAGAIN) {
		return cause(err)
	}
	if again := k.Do(s, func() error { return call(&netlink.Handle{}) }); !errors.Is(again, unix.EEXIST) {
		err = again
	}
	return cause(err)
}

// ask makes typed calls that look, whose errno says all.
func (k *Kernel) ask(s Side, calls func(*netlink.Handle) error) error {
	h, err := k.Handle(s)
	if err != nil {
		return err
	}
	return cause(calls(h))
}

// Ask makes a request of one of the kinds unix.RTM_GET* that no typed call can
// say, and gives the bodies of the answers. An attribute that is nil is none. An
// error has the kernel's own words, where it has some.
func (k *Kernel) Ask(s Side, kind, flags int, header nl.NetlinkRequestData, attrs ...*nl.RtAttr) ([][]byte, error) {
	return List(func() ([][]byte, error) { return k.execute(s, kind, flags, header, attrs) })
}

// Change is Ask for a request that changes something.
func (k *Kernel) Change(s Side, kind, flags int, header nl.NetlinkRequestData, attrs ...*nl.RtAttr) error {
	_, err := k.execute(s, kind, flags|unix.NLM_F_ACK, header, attrs)
	return err
}

func (k *Kernel) execute(s Side, kind, flags int, header nl.NetlinkRequestData, attrs []*nl.RtAttr) ([][]byte, error) {
	own, err := k.rtnetlink(s)
	if err != nil {
		return nil, err
	}
	r := nl.NewNetlinkRequest(kind, flags)
	r.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: own.raw}
	r.AddData(header)
	for _, a := range attrs {
		if a != nil {
			r.AddData(a)
		}
	}
	// RTM_GETLINK is answered by RTM_NEWLINK, and so on.
	answers, err := r.Execute(unix.NETLINK_ROUTE, uint16(kind-(unix.RTM_GETLINK-unix.RTM_NEWLINK)))
	return answers, cause(err)
}

// rtnetlink opens both sockets inside Do: the library's own way into a namespace
// gives a thread that cannot come home back to the Go runtime.
func (k *Kernel) rtnetlink(s Side) (*rtnetlink, error) {
	if r := k.rtnetlinks[s]; r != nil {
		return r, nil
	}
	r := &rtnetlink{}
	if err := k.Do(s, r.open); err != nil {
		r.close()
		return nil, fmt.Errorf("%v: netlink socket: %w", s, err)
	}
	k.rtnetlinks[s] = r
	return r, nil
}

func (r *rtnetlink) open() (err error) {
	if r.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return err
	}
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	r.raw = &nl.SocketHandle{Socket: socket}
	// Kernels before 4.20 know no strict checks: they answer more, which is
	// sorted out here.
	if err := r.handle.SetStrictCheck(true); err != nil && !errors.Is(err, unix.ENOPROTOOPT) {
		return err
	}
	limit := unix.NsecToTimeval(int64(patience))
	return errors.Join(r.handle.SetSocketTimeout(patience), socket.SetExtAck(true), socket.SetSendTimeout(&limit), socket.SetReceiveTimeout(&limit))
}

func (r *rtnetlink) close() {
	if r.handle != nil {
		r.handle.Close()
	}
	if r.raw != nil {
		r.raw.Close()
	}
}

// Renew closes the sockets, and forgets the links that were seen. Where an answer
// was lost, what the kernel has done is not known, and a list that was not read to
// its end keeps it from giving another one over the same socket (EBUSY).
func (k *Kernel) Renew() {
	for _, r := range k.rtnetlinks {
		if r != nil {
			r.close()
		}
	}
	if k.netfilter != nil {
		k.netfilter.Close()
	}
	k.rtnetlinks, k.netfilter, k.links = [2]*rtnetlink{}, nil, [2]map[string]*Link{{}, {}}
}

// Await looks, and looks again at each event of a group (unix.RTNLGRP_*), until
// what is looked for is there. The time being over is os.ErrDeadlineExceeded; the
// end of the context before that is its cause. The subscription is older than the
// first look, so no event is missed.
func (k *Kernel) Await(ctx context.Context, s Side, group uint, limit time.Duration, look func() (there bool, err error)) error {
	var events *nl.NetlinkSocket
	err := k.Do(s, func() (err error) {
		events, err = nl.Subscribe(unix.NETLINK_ROUTE, group)
		return err
	})
	if err != nil {
		return fmt.Errorf("%v: netlink socket: %w", s, err)
	}
	defer events.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, os.ErrDeadlineExceeded)
	defer cancel()
	defer context.AfterFunc(ctx, events.Close)()
	for {
		if there, err := look(); there || err != nil {
			return err
		}
		_, _, err := events.Receive()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && !errors.Is(err, unix.ENOBUFS): // events that were lost count as one
			return fmt.Errorf("read the %v's events: %w", s, err)
		}
	}
}

// EndWait bounds how long an ADD waits for the end of a namespace that nobody can
// enter any more: sockets that were open there hold it for a grace period of the
// kernel's.
const EndWait = 2 * time.Second

// Outlast makes a call, and again at the events of the host's links for as long as
// it is refused: by a link of that master's that is in a namespace that ends.
func (k *Kernel) Outlast(refusal unix.Errno, call func() error) error {
	err := call()
	if errors.Is(err, refusal) {
		_ = k.Await(context.Background(), Host, unix.RTNLGRP_LINK, EndWait, func() (bool, error) {
			err = call()
			return !errors.Is(err, refusal), nil
		})
	}
	return err
}

// attempts bounds how often a list is asked for that changes while it is read.
const attempts = 10

// ListOf makes a typed call that lists something.
func ListOf[T any](k *Kernel, s Side, call func(*netlink.Handle) ([]T, error)) (list []T, err error) {
	err = k.ask(s, func(h *netlink.Handle) (err error) {
		list, err = List(func() ([]T, error) { return call(h) })
		return err
	})
	return list, err
}

// List makes a call that lists something, again where the list has changed while
// it was read: what the kernel has said until then may be torn.
func List[T any](call func() ([]T, error)) (list []T, err error) {
	for range attempts {
		if list, err = call(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return list, err
		}
	}
	return nil, err
}
