package kernel

import (
	"errors"
	"io/fs"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// RemoveLink deletes a link. One that is not there is success.
func (k *Kernel) RemoveLink(s Side, l *Link) error {
	h, err := k.Handle(s)
	if err != nil {
		return err
	}
	k.Invalidate(s, l.Name)
	return gone(h.LinkDel(l.Typed))
}

// gone is the error of a deletion: what is not there any more is success.
func gone(err error) error {
	if err = Cause(err); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// RemoveLinks deletes links, however many, in about the time that one takes:
// nearly all of that is a wait for grace periods of RCU, and the links of a group
// wait together (rtnl_group_dellink of the kernel's rtnetlink.c), which no typed
// call asks for. What is not there is success. Calls of RemoveLink at the same
// time wait together too, as the kernel's lock is free by then.
func (k *Kernel) RemoveLinks(s Side, links []*Link) error {
	h, err := k.Handle(s)
	if err != nil {
		return err
	}
	// People number groups from 0 on. A group of a call that died does no harm.
	group := 1<<31 | uint32(time.Now().UnixNano())
	some := false
	for _, l := range links {
		k.Invalidate(s, l.Name)
		err := Cause(h.LinkSetGroup(l.Typed, int(group)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		some = some || err == nil
	}
	if !some {
		return nil
	}
	r := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	r.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	r.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(group)))
	_, err = k.Execute(s, r, 0)
	return gone(err)
}
