package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// RemoveLink deletes a link. One that is not there is success.
func (k *Kernel) RemoveLink(s Side, l *Link) error {
	k.Invalidate(s, l.Name)
	return Gone(k.ask(s, func(h *netlink.Handle) error { return h.LinkDel(l.Typed) }))
}

// Gone is the error of a deletion: what is not there, or not any more, is success.
func Gone(err error) error {
	if IsAny(err, fs.ErrNotExist, unix.ESRCH, unix.EADDRNOTAVAIL) {
		return nil
	}
	return err
}

// IsAny is errors.Is of one of several.
func IsAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}

// RemoveLinks deletes links, however many, in about the time that one takes:
// nearly all of that is a wait for grace periods of RCU, and the links of a group
// wait together (rtnl_group_dellink of the kernel's rtnetlink.c), which no typed
// call asks for. What is not there is success. Calls of RemoveLink at the same
// time wait together too, as the kernel's lock is free by then.
func (k *Kernel) RemoveLinks(s Side, links []*Link) error {
	// A group of a call that died does no harm.
	group, members := groups|uint32(time.Now().UnixNano()), 0
	for _, l := range links {
		k.Invalidate(s, l.Name)
		err := k.ask(s, func(h *netlink.Handle) error { return h.LinkSetGroup(l.Typed, int(group)) })
		switch {
		case err == nil:
			members++
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("delete link %s with others: %w", l.Name, err)
		}
	}
	if members == 0 {
		return nil
	}
	return k.removeGroup(s, group)
}

// RemoveNewborn deletes the host's links that ADDs of a network have made and not
// lived to label.
func (k *Kernel) RemoveNewborn(network string) error { return k.removeGroup(Host, Newborn(network)) }

func (k *Kernel) removeGroup(s Side, group uint32) error {
	if err := Gone(k.Change(s, unix.RTM_DELLINK, 0, nl.NewIfInfomsg(unix.AF_UNSPEC), Group(group))); err != nil {
		return fmt.Errorf("delete the links of a group: %w", err)
	}
	return nil
}
