package route

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// Back is the host's way back to a pod's addresses whose gateway is on no subnet
// of theirs: a route to each, by a link that other pods share and that does not
// end with this one. Their metric is a mark of the attachment. DEL may not know
// the addresses, so they are recorded in a file that dies with the boot, as the
// routes do:
//
//	/run/catena/routes/<key>    a JSON object: owner, link, addrs
//
// <key> is a hash of the attachment.
type Back struct {
	Owner name.Attachment `json:"owner"`
	Link  string          `json:"link"`
	Addrs []netip.Addr    `json:"addrs"`
}

const backRecords = state.Folder("/run/catena/routes")

func (b Back) String() string {
	words := []string{"routes host"}
	for _, a := range b.Addrs {
		words = append(words, a.String())
	}
	return strings.Join(append(words, "dev", b.Link), " ")
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

// Add records the routes and makes them, or neither.
func (b Back) Add(k *kernel.Kernel) error {
	if b.Idle() {
		return nil
	}
	content, err := json.Marshal(b)
	if err == nil {
		err = backRecords.Replace(b.Owner.Key(), content)
	}
	if err != nil {
		return err
	}
	for _, r := range b.routes() {
		if err := r.send(k, unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE); err != nil {
			return errors.Join(fmt.Errorf("%v: %w", r, err), b.Del(k))
		}
	}
	return nil
}

// Del removes what the record has. With the link the routes are gone.
func (b Back) Del(k *kernel.Kernel) error {
	content, err := backRecords.Read(b.Owner.Key())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	there := Back{}
	if err == nil && json.Unmarshal(content, &there) != nil {
		there = b // a torn file: what this call knows of is removed
	}
	there.Owner = b.Owner
	errs := []error{err}
	for _, r := range there.routes() {
		if err := r.Remove(k); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err // the record stays: the next DEL tries again
	}
	return backRecords.Remove(b.Owner.Key())
}

// Check looks for each route.
func (b Back) Check(k *kernel.Kernel) error {
	var errs []error
	for _, r := range b.routes() {
		if err := r.Check(k); err != nil {
			errs = append(errs, fmt.Errorf("%v: %w", r.Dst, err))
		}
	}
	return errors.Join(errs...)
}

// Attachments lists the attachments that have such routes, for GC. A record that
// cannot be read speaks for nobody.
func Attachments() (out []name.Attachment, err error) {
	keys, err := backRecords.Keys()
	for _, key := range keys {
		var b Back
		if content, rerr := backRecords.Read(key); rerr == nil && json.Unmarshal(content, &b) == nil {
			out = append(out, b.Owner)
		}
	}
	return out, err
}
