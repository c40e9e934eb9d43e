package tc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/netlink"
)

// Redirect sends what the pod sends through its IFB, less what goes to an exempt
// subnet.
type Redirect struct {
	From   HostEnd
	IFB    IFB
	Exempt []netip.Prefix
}

func (r Redirect) String() string {
	text := fmt.Sprintf("redirect %v to %s", r.From, r.IFB.Name())
	if len(r.Exempt) > 0 {
		text += " except to " + texts(r.Exempt)
	}
	return text
}

// Idle says that the pod's sending is not limited.
func (r Redirect) Idle() bool { return r.IFB.Idle() }

// Add makes the filters, the exemptions first.
func (r Redirect) Add(k *kernel.Kernel) error {
	if r.Idle() {
		return nil
	}
	t, ifb, err := r.ends(k)
	if err != nil {
		return err
	}
	// A filter without an action ends the search; its class is not looked at here.
	err = t.exempt(receive, exemptPriority, shaperClass, Destination, r.Exempt)
	if err == nil {
		err = t.match(receive, redirectPriority, unix.ETH_P_ALL, anyPacket(), redirectTo(ifb))
	}
	if err != nil {
		return errors.Join(err, t.unmatch(receive, ours(ifb.Index)))
	}
	return nil
}

// ends are the link that packets are taken from, and the one that they go to.
func (r Redirect) ends(k *kernel.Kernel) (from target, to *kernel.Link, err error) {
	if from, err = r.From.find(k); err == nil {
		to, err = r.IFB.Find(k)
	}
	return from, to, err
}

// redirectTo is the action that sends a packet out by a link.
func redirectTo(l *kernel.Link) netlink.Attr {
	parms := make([]byte, mirredSize)
	binary.NativeEndian.PutUint32(parms[mirredThen:], actStolen)
	binary.NativeEndian.PutUint32(parms[mirredHow:], egressRedirect)
	binary.NativeEndian.PutUint32(parms[mirredTo:], uint32(l.Index))
	return netlink.Nest(u32Actions, netlink.Nest(1,
		netlink.String(actKind, "mirred"), netlink.Nest(actOptions, netlink.Bytes(mirredParms, parms))))
}

// leads reports whether the filter leads to the link of a number, or to one that
// is none any more.
func (f filter) leads(to int) bool { return f.redirect && (f.to == 0 || f.to == to) }

// ours tells the filters that Add makes for the IFB of a number.
func ours(ifb int) func(filter) bool {
	return func(f filter) bool {
		switch f.priority {
		case redirectPriority:
			return f.leads(ifb)
		case exemptPriority, exemptPriority + 1:
			return f.class == shaperClass && !f.redirect
		}
		return false
	}
}

// Del removes the filters, ours and upstream's: a link that goes on without its
// IFB would lose every packet.
func (r Redirect) Del(k *kernel.Kernel) error {
	t, err := r.From.find(k)
	if err != nil {
		return gone(err)
	}
	if _, err := t.at(hook); err != nil {
		return gone(err)
	}
	number := 0
	if ifb, err := r.IFB.Find(k); err == nil {
		number = ifb.Index
	}
	return errors.Join(t.unmatch(receive, ours(number)), t.unmatchUpstreams(number))
}

// Check looks for a filter that leads to the IFB, and for the exemptions.
func (r Redirect) Check(k *kernel.Kernel) error {
	if r.Idle() {
		return nil
	}
	t, ifb, err := r.ends(k)
	if err != nil {
		return err
	}
	all, err := t.filters(receive)
	if err != nil {
		return err
	}
	leads := func(f filter) bool { return f.redirect && f.to == ifb.Index }
	if !slices.ContainsFunc(all, leads) {
		return fmt.Errorf("no filter of %s leads to %s", t.link.Name, ifb.Name)
	}
	return t.exempts(receive, exemptPriority, Destination, r.Exempt)
}
