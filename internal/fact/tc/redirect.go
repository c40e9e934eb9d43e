package tc

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// Hook is the parent of filters on what a link receives (clsact). Others use it
// too, so it stays until the link goes.
type Hook struct {
	fact.Stays
	On    Place
	Asked bool
}

func (h Hook) String() string { return fmt.Sprintf("hook %s clsact", h.On.text()) }

func (h Hook) Idle() bool { return !h.Asked }

// Add makes the hook where it is missing. The older kind, ingress, will do; the
// filter that upstream's DEL leaves on it is removed, since it would drop every
// packet.
func (h Hook) Add(k *kernel.Kernel) error {
	t, err := h.On.find(k)
	if err != nil {
		return err
	}
	clsact := &netlink.Clsact{QdiscAttrs: t.attrs(hookID, netlink.HANDLE_CLSACT)}
	if err := t.add(clsact); !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := t.unmatchUpstreams(0); err != nil {
		return err
	}
	if err := t.add(clsact); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func (h Hook) Check(k *kernel.Kernel) error {
	_, _, err := look(k, h.On, netlink.HANDLE_CLSACT)
	return err
}

// Redirect sends what the pod sends through its IFB, less what goes to an exempt
// subnet.
type Redirect struct {
	From   HostEnd
	IFB    IFB
	Exempt []netip.Prefix
}

func (r Redirect) String() string {
	return fact.Text("redirect", r.From.text(), "to", r.IFB.Name(), fact.Word("except to", fact.Words("", r.Exempt)))
}

func (r Redirect) Idle() bool { return r.IFB.Idle() }

// received is the parent of the filters on what a link receives.
const received = netlink.HANDLE_MIN_INGRESS

// Add makes the filters, the exemptions first.
func (r Redirect) Add(k *kernel.Kernel) error {
	t, ifb, err := r.ends(k)
	if err != nil {
		return err
	}
	// A filter without an action ends the search; its class is not looked at here.
	err = t.exempt(received, exemptPriority, shaperClass, Destination, r.Exempt)
	if err == nil {
		all := netlink.U32{Actions: []netlink.Action{netlink.NewMirredAction(ifb.Index)}}
		err = t.match(received, redirectPriority, unix.ETH_P_ALL, all)
	}
	if err != nil {
		return errors.Join(err, t.unmatch(received, ours(ifb.Index)))
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

// redirect reports whether a filter redirects packets, and to which link: 0 is
// one that has gone. Upstream's filter has the action twice, and the first takes
// the packet.
func redirect(f netlink.Filter) (link int, is bool) {
	if u, ok := f.(*netlink.U32); ok {
		for _, action := range u.Actions {
			if m, ok := action.(*netlink.MirredAction); ok && m.MirredAction == netlink.TCA_EGRESS_REDIR {
				return m.Ifindex, true
			}
		}
	}
	return 0, false
}

// leads reports whether a filter redirects to a link, or to one that has gone.
func leads(f netlink.Filter, link int) bool {
	to, is := redirect(f)
	return is && (to == 0 || to == link)
}

// ours tells the filters that Add makes for an IFB.
func ours(ifb int) func(netlink.Filter) bool {
	return func(f netlink.Filter) bool {
		switch f.Attrs().Priority {
		case redirectPriority:
			return leads(f, ifb)
		case exemptPriority, exemptPriority + 1:
			u, ok := f.(*netlink.U32)
			return ok && u.ClassId == shaperClass && len(u.Actions) == 0
		}
		return false
	}
}

// unmatchUpstreams removes the filter of upstream's plugin where it leads to a
// link, or to one that has gone. Where that was the only filter, it removes the
// hook, which upstream has made for it.
func (t target) unmatchUpstreams(link int) error {
	there, err := t.at(netlink.HANDLE_INGRESS)
	if err != nil || there.kind != "ingress" {
		return gone(err)
	}
	all, err := t.filters(received)
	if err != nil {
		return err
	}
	theirs := func(f netlink.Filter) bool { return f.Attrs().Priority == upstreamPriority && leads(f, link) }
	switch {
	case !slices.ContainsFunc(all, theirs):
		return nil
	case slices.ContainsFunc(all, func(f netlink.Filter) bool { return !theirs(f) }):
		return t.unmatch(received, theirs)
	}
	return t.remove(hookID, netlink.HANDLE_INGRESS)
}

// Del removes the filters, ours and upstream's: a link that goes on without its
// IFB would lose every packet.
func (r Redirect) Del(k *kernel.Kernel) error {
	t, _, err := look(k, r.From, netlink.HANDLE_CLSACT)
	if err != nil {
		return gone(err)
	}
	number := 0
	if ifb, err := r.IFB.Find(k); err == nil {
		number = ifb.Index
	}
	return errors.Join(t.unmatch(received, ours(number)), t.unmatchUpstreams(number))
}

func (r Redirect) Check(k *kernel.Kernel) error {
	t, ifb, err := r.ends(k)
	if err != nil {
		return err
	}
	if reached, err := t.redirects(ifb); err != nil || !reached {
		return errors.Join(err, fmt.Errorf("no filter of %s leads to %s", t.link.Name, ifb.Name))
	}
	return t.exempts(received, exemptPriority, Destination, r.Exempt)
}

// redirects reports whether what the link receives goes to another one.
func (t target) redirects(link *kernel.Link) (bool, error) {
	all, err := t.filters(received)
	return slices.ContainsFunc(all, func(f netlink.Filter) bool {
		to, is := redirect(f)
		return is && to == link.Index
	}), err
}
