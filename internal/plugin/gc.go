package plugin

import (
	"errors"
	"slices"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// Traces are attachments that have something on the host. An attachment may be
// there more than once.
type Traces struct {
	all, gone []name.Attachment
	errs      []error
}

// Found adds attachments that have something.
func (t *Traces) Found(some []name.Attachment, err error) {
	t.all, t.errs = append(t.all, some...), append(t.errs, err)
}

// Gone adds those whose pods are provably gone by a record, whatever network
// they are of.
func (t *Traces) Gone(some []name.Attachment, err error) {
	t.gone, t.errs = append(t.gone, some...), append(t.errs, err)
}

// GC is what the runtime says of a network.
type GC struct {
	Network string
	Valid   []name.Attachment
}

// Keeps reports whether a comment is that of a valid attachment.
func (gc GC) Keeps(comment string) bool {
	return slices.ContainsFunc(gc.Valid, func(v name.Attachment) bool { return v.Comment() == comment })
}

// gc is DEL for every attachment of the network that left something and is not
// valid any more. Their pods may be taken as gone.
//
// Where nobody says who is valid, only what is provably gone goes, by the
// namespace that a record names, or else by the one that libcni remembers. What
// upstream's plugins have left does not say that, and stays.
func (p Plugin[C]) gc(r *cni.Request) error {
	_, c, _ := p.Read(r)
	k, err := kernel.Open("")
	if err != nil {
		return err
	}
	defer k.Close()
	valid, given := r.ValidAttachments()
	var traces Traces
	if p.Traces != nil {
		p.Traces(&traces, k, c)
	}
	others := func(a name.Attachment) bool { return a.Network != r.Network }
	stale := slices.DeleteFunc(slices.DeleteFunc(traces.all, others), func(a name.Attachment) bool {
		return given && slices.Contains(valid, a) || !given && !departed(a)
	})
	if !given {
		stale = append(stale, slices.DeleteFunc(traces.gone, others)...)
	}
	errs := append(traces.errs, p.undo(k, stale, c))
	if given {
		errs = append(errs, k.RemoveNewborn(r.Network))
	}
	if given && p.Collect != nil {
		errs = append(errs, p.Collect(k, GC{r.Network, valid}, c))
	}
	_, err = p.delegate(r, cni.GC)
	return errors.Join(append(errs, err)...)
}

// undo is DEL for attachments whose pods may be taken as gone. One may be there
// more than once.
func (p Plugin[C]) undo(k *kernel.Kernel, stale []name.Attachment, c C) error {
	var plans []fact.Plan
	seen := map[name.Attachment]bool{}
	for _, a := range stale {
		if !seen[a] {
			plans = append(plans, p.want(Call{Attachment: a, Result: cni.NewResult()}, c))
		}
		seen[a] = true
	}
	return fact.DelAll(k, plans)
}

// departed reports whether libcni keeps a result of the attachment whose network
// namespace is not there any more.
func departed(at name.Attachment) bool {
	path := cni.KeptOf(at).Netns
	if path == "" {
		return false
	}
	id, err := kernel.LookNetns(path)
	return err == nil && id == kernel.NetnsID{}
}
