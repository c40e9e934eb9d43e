package kernel

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// patience bounds the wait for one answer. The kernel holds locks that all its
// users share; longer than this no runtime waits for a plugin.
const patience = 30 * time.Second

// Handle is the side's rtnetlink in vishvananda/netlink's typed calls. It is
// opened inside Do: the library's own way into a namespace gives a thread that
// cannot come home back to the Go runtime.
func (k *Kernel) Handle(s Side) (*netlink.Handle, error) {
	if h := k.handles[s]; h != nil {
		return h, nil
	}
	var h *netlink.Handle
	err := k.Do(s, func() (err error) {
		if h, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			return err
		}
		// Kernels before 4.20 know no strict checks: they answer more, which is
		// sorted out here.
		if err := h.SetStrictCheck(true); err != nil && !errors.Is(err, unix.ENOPROTOOPT) {
			h.Close()
			return err
		}
		if err = h.SetSocketTimeout(patience); err != nil {
			h.Close()
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%v: netlink socket: %w", s, err)
	}
	k.handles[s] = h
	return h, nil
}

// Execute makes a request that no typed call can say, on a socket of the side's,
// and gives the bodies of the answers of one type. An error is the kernel's
// errno, with its own words where it has some.
func (k *Kernel) Execute(s Side, r *nl.NetlinkRequest, answers uint16) ([][]byte, error) {
	raw, err := k.raw(s)
	if err != nil {
		return nil, err
	}
	r.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: raw}
	return r.Execute(unix.NETLINK_ROUTE, answers)
}

// raw is the socket of Execute. A handle's own socket cannot be had, and it is
// not asked for the kernel's words.
func (k *Kernel) raw(s Side) (*nl.SocketHandle, error) {
	if r := k.raws[s]; r != nil {
		return r, nil
	}
	var socket *nl.NetlinkSocket
	err := k.Do(s, func() (err error) {
		if socket, err = nl.Subscribe(unix.NETLINK_ROUTE); err != nil {
			return err
		}
		limit := unix.NsecToTimeval(int64(patience))
		err = errors.Join(socket.SetExtAck(true), socket.SetSendTimeout(&limit), socket.SetReceiveTimeout(&limit))
		if err != nil {
			socket.Close()
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%v: netlink socket: %w", s, err)
	}
	k.raws[s] = &nl.SocketHandle{Socket: socket}
	return k.raws[s], nil
}

// attempts bounds how often a list is asked for that changes while it is read.
const attempts = 10

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
