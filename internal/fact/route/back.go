package route

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// Back is the host's routes to those of a pod's addresses whose subnet does not
// have the gateway: one to each, by a link that other pods share, so that the
// routes do not die with the pod's own. Their metric is a mark of the attachment.
// DEL may not know the addresses, so a file records them. It dies with the boot,
// as the routes do:
//
//	/run/catena/routes/<key>    a JSON object: owner, link, addrs
//
// <key> is a hash of the attachment.
type Back struct {
	Owner name.Attachment `json:"owner"`
	Link  string          `json:"link"`
	Addrs []netip.Addr    `json:"addrs"`
}

func (b Back) Of() name.Attachment { return b.Owner }

// Abandoned is never known: the record does not say where the pod is.
func (Back) Abandoned() bool { return false }

var backRecords = state.Records[Back]{Folder: "/run/catena/routes"}

func (b Back) String() string {
	return fact.Text("routes host", fact.Words("", b.Addrs), "dev", b.Link)
}

// Idle says that every address has its gateway on its subnet.
func (b Back) Idle() bool { return len(b.Addrs) == 0 }

func (b Back) routes() (out []Route) {
	for _, a := range b.Addrs {
		out = append(out, Route{
			Side: kernel.Host, Link: b.Link, Dst: netip.PrefixFrom(a, a.BitLen()), Priority: int(b.Owner.Label("back")), protocol: protocolOwn,
		})
	}
	return out
}

// Add records the routes, by which Del finds them, and makes them.
func (b Back) Add(k *kernel.Kernel) error {
	if err := backRecords.Replace(b); err != nil {
		return err
	}
	for _, r := range b.routes() {
		if err := r.change(k, (*netlink.Handle).RouteReplace); err != nil {
			return fmt.Errorf("%v: %w", r, err)
		}
	}
	return nil
}

// Del removes what the record has. With the link the routes are gone.
func (b Back) Del(k *kernel.Kernel) error {
	there, err := backRecords.Lift(b.Owner)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, state.ErrDamaged):
		there, err = b, nil // what this call knows of is removed
	}
	err = errors.Join(err, fact.ForEach(there.routes(), func(r Route) error { return r.Remove(k) }))
	if err != nil {
		return err // the record stays: the next DEL tries again
	}
	return backRecords.Remove(b.Owner)
}

func (b Back) Check(k *kernel.Kernel) error {
	return fact.ForEach(b.routes(), func(r Route) error {
		if err := r.Check(k); err != nil {
			return fmt.Errorf("%v: %w", r.Dst, err)
		}
		return nil
	})
}

// Attachments lists the attachments that have such routes, for GC.
func Attachments() ([]name.Attachment, error) { return backRecords.Owners() }
