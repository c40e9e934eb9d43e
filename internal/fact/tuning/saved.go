package tuning

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/sysctl"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// Saved is that a file has the former values of everything that is to be changed:
//
//	<folder>/<containerID>_<ifname>.json
//
// It comes first in a plan, so that nothing is changed before it is saved. The
// file's name and the first members of its content are upstream's: each of the two
// tuning plugins can take back what the other has changed. The file is removed when
// everything in it is put back.
type Saved struct {
	Folder   state.Folder
	Owner    name.Attachment
	Values   Values
	Sysctl   sysctl.Pairs
	Features map[string]bool
}

// record is the content of the file.
type record struct {
	Values
	Sysctl   sysctl.Pairs    `json:"sysctl,omitempty"`
	Features map[string]bool `json:"ethtool,omitempty"`

	Owner string `json:"owner,omitempty"` // upstream does not say
	kernel.NetnsRef
}

func records(folder state.Folder) state.Records[record] {
	return state.Records[record]{Folder: folder, Suffix: ".json", Key: upstreamKey}
}

func upstreamKey(at name.Attachment) string { return at.ContainerID + "_" + at.IfName }

// Of is the attachment whose former values they are, the zero value for
// upstream's.
func (r record) Of() name.Attachment {
	at, _ := name.Parse(r.Owner)
	return at
}

func (s Saved) key() string { return upstreamKey(s.Owner) + ".json" }

func (s Saved) String() string { return fmt.Sprintf("save %s/%s", s.Folder, s.key()) }

func (s Saved) Idle() bool {
	return s.Values == Values{} && len(s.Sysctl) == 0 && len(s.Features) == 0
}

// Add reads the values as they are, and claims the file with them.
func (s Saved) Add(k *kernel.Kernel) error {
	before := record{Owner: s.Owner.String(), NetnsRef: kernel.NetnsRef{Netns: k.PodPath(), PodID: k.PodID()}}
	if s.Values != (Values{}) { // else there need be no link: a driver in user space may have the device
		l, err := k.Link(kernel.Pod, s.Owner.IfName)
		if err != nil {
			return err
		}
		before.Values = valuesOf(l).only(s.Values)
	}
	var err error
	if before.Sysctl, err = s.Sysctl.Now(k); err != nil {
		return err
	}
	if before.Features, _, err = (Features{Link: s.Owner.IfName, Wanted: s.Features}).now(k); err != nil {
		return err
	}
	return s.claim(before)
}

// claim writes the first version of the file. Where the file is there, only values
// that it does not have are added: the others, as a second ADD or a second tuning
// of one chain reads them, are what the first has set. So the first DEL puts back
// what both have changed.
func (s Saved) claim(now record) error {
	err := records(s.Folder).Claim(now)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	before, rerr := s.read()
	switch {
	case rerr != nil && !errors.Is(rerr, state.ErrDamaged):
		return rerr
	case rerr == nil && !before.isOf(s.Owner) && kernel.Netns(before.Netns) == before.NetnsID:
		err = cni.Taken("%s/%s has the former values of %s", s.Folder, s.key(), before.Owner)
		return cni.Hint(err, "detach (DEL) "+before.Owner+" first")
	case rerr == nil && before.isOf(s.Owner) && before.isAbout(now, s.Values):
		now = before.and(now)
	}
	return records(s.Folder).Replace(now)
}

// read gives what is saved, nothing where there is no file. It reads upstream's
// files as well, which are nobody's records.
func (s Saved) read() (r record, err error) {
	b, err := s.Folder.Read(s.key())
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, state.Damaged("%s/%s says nothing that can be read: %v", s.Folder, s.key(), err)
	}
	return r, nil
}

// isOf reports whether the values are of a container's interface: "a_b" with "c"
// has the file name of "a" with "b_c". The network may have got another name.
func (r record) isOf(at name.Attachment) bool {
	owner := r.Of()
	return owner == name.Attachment{} || owner.ContainerID == at.ContainerID && owner.IfName == at.IfName
}

// isAbout reports whether the values are of the pod as it is now. Upstream leaves
// files behind when a namespace dies before DEL, and they do not say which one it
// was. Such a file is believed where the interface already has the wanted values
// of the settings that the file has.
func (r record) isAbout(now record, wanted Values) bool {
	if r.NetnsID != (kernel.NetnsID{}) {
		return r.PodID.Is(now.PodID)
	}
	both := r.Values.only(wanted)
	return both != Values{} && wanted.only(both).String() == now.only(both).String()
}

// and is the record of now with the values of r, which are older, before its own.
func (r record) and(now record) record {
	now.MAC, now.MTU = cmp.Or(r.MAC, now.MAC), cmp.Or(r.MTU, now.MTU)
	now.Promisc, now.AllMulti, now.TxQLen = cmp.Or(r.Promisc, now.Promisc), cmp.Or(r.AllMulti, now.AllMulti), cmp.Or(r.TxQLen, now.TxQLen)
	for _, p := range now.Sysctl {
		if !slices.ContainsFunc(r.Sysctl, func(o sysctl.Pair) bool { return o.Key == p.Key }) {
			r.Sysctl = append(r.Sysctl, p)
		}
	}
	r.Sysctl.Order()
	features := map[string]bool{}
	maps.Copy(features, now.Features)
	maps.Copy(features, r.Features)
	now.Sysctl, now.Features = r.Sysctl, features
	return now
}

// Del puts everything back that is saved, and removes the file. Settings of a
// namespace or an interface that is gone are left out. Another pod that is at the
// namespace's path by now is not touched.
func (s Saved) Del(k *kernel.Kernel) error {
	before, err := s.read()
	switch {
	case errors.Is(err, state.ErrDamaged):
		_ = s.Folder.SetAside(s.key(), err)
		return s.Folder.Remove(s.key())
	case err != nil:
		return err
	case !before.isOf(s.Owner):
		return nil
	}
	there, err := before.isIn(k, s.Owner.IfName)
	if err == nil && there {
		err = before.putBack(k, s.Owner.IfName)
	}
	if err != nil {
		return err // the file stays, so that it can be tried again
	}
	return s.Folder.Remove(s.key())
}

// isIn reports whether the values are of the pod that is there. Where the file
// cannot tell, as upstream's, the interface must be the attachment's.
func (r record) isIn(k *kernel.Kernel, link string) (bool, error) {
	now := k.PodID()
	switch {
	case !k.Has(kernel.Pod), r.NetnsID != (kernel.NetnsID{}) && !r.PodID.Is(now):
		return false, nil
	case r.Cookie != 0 && now.Cookie != 0, k.Trusted():
		return true, nil
	}
	l, err := k.Link(kernel.Pod, link)
	return err == nil && k.Owned(l), kernel.Gone(err)
}

// putBack leaves out what is not there any more, and what will never be taken: that
// would keep the pod from ending for ever.
func (r record) putBack(k *kernel.Kernel, link string) error {
	var errs []error
	try := func(err error) {
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case errors.Is(err, fs.ErrInvalid), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ERANGE), errors.Is(err, unix.EOPNOTSUPP):
			fmt.Fprintf(os.Stderr, "a former value of %s cannot be put back: %v\n", link, err)
		default:
			errs = append(errs, err)
		}
	}
	try(Features{Link: link, Wanted: r.Features}.ask(k))
	try(Link{Link: link, Values: r.Values}.Add(k))
	for _, p := range r.Sysctl {
		try(sysctl.Setting{Side: kernel.Pod, Pairs: sysctl.Pairs{p}}.Add(k))
	}
	return errors.Join(errs...)
}

// Check has nothing to look at: upstream keeps no file where it need not restore.
func (s Saved) Check(*kernel.Kernel) error { return nil }

// Collect is GC: it is DEL for the network's attachments that are not valid.
// Upstream's files do not say whose network they are of: see internal/upstream.
func Collect(folder state.Folder, network string, valid func(text string) bool) error {
	all, _, err := records(folder).All()
	return errors.Join(err, fact.ForEach(all, func(r record) error {
		at := r.Of()
		if at.Network != network || valid(at.Comment()) {
			return nil
		}
		return r.collect(Saved{Folder: folder, Owner: at})
	}))
}

// collect looks into the pod where its namespace is still at its path.
func (r record) collect(s Saved) error {
	path := ""
	if kernel.Netns(r.Netns) == r.NetnsID {
		path = r.Netns
	}
	k, err := kernel.Open(path)
	if err != nil {
		return err
	}
	defer k.Close()
	return s.Del(k)
}

// Abandoned lists the attachments whose values are saved and whose pods are
// provably gone.
func Abandoned(folder state.Folder) ([]name.Attachment, error) { return records(folder).Abandoned() }
