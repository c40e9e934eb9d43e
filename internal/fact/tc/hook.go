package tc

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/catena-cni/catena/internal/kernel"
)

// Hook is where filters on what a link receives hang (tc-bpf(8), clsact). Others
// use it too, so it stays until the link goes.
type Hook struct {
	On    Place
	Asked bool
}

func (h Hook) String() string { return fmt.Sprintf("hook %v clsact", h.On) }

// Idle says that it is not needed.
func (h Hook) Idle() bool { return !h.Asked }

// Add makes the hook where it is missing. One of the older kind, ingress, is as
// good; what upstream's DEL leaves on it would drop every packet.
func (h Hook) Add(k *kernel.Kernel) error {
	if h.Idle() {
		return nil
	}
	t, err := h.On.find(k)
	if err != nil {
		return err
	}
	if err := t.make("clsact", hookID, hook); !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := t.unmatchUpstreams(0); err != nil {
		return err
	}
	if err := t.make("clsact", hookID, hook); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// unmatchUpstreams removes the filter of upstream's plugin where it leads to a
// link that is none any more, or to the one of a number, and the hook where it
// was alone there: upstream has made that for itself.
func (t target) unmatchUpstreams(to int) error {
	there, err := t.at(hook)
	if err != nil || there.kind != "ingress" {
		return gone(err)
	}
	all, err := t.filters(receive)
	if err != nil {
		return err
	}
	theirs := func(f filter) bool { return f.priority == upstreams && f.leads(to) }
	switch {
	case !slices.ContainsFunc(all, theirs):
		return nil
	case slices.ContainsFunc(all, func(f filter) bool { return !theirs(f) }):
		return t.unmatch(receive, theirs)
	}
	return t.remove(hookID, hook)
}

// Del does nothing: see Hook.
func (h Hook) Del(*kernel.Kernel) error { return nil }

// Check looks for the hook.
func (h Hook) Check(k *kernel.Kernel) error {
	if h.Idle() {
		return nil
	}
	t, err := h.On.find(k)
	if err != nil {
		return err
	}
	_, err = t.at(hook)
	return err
}
