// Package fact makes a list of facts true, or untrue, or looks whether they are.
//
// A plugin's ADD, DEL and CHECK are one list read three ways: forward, backward
// and without a change.
package fact

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kernel"
)

// Fact is one thing that holds while an attachment lives. A Fact is plain data.
//
// Where Add fails it has left nothing behind but what Del takes away. Where it says
// that something is there already (fs.ErrExist), that stays, and it has left nothing.
// Del succeeds on what is not there. A Fact that dies with another (an address with
// its link), or that others share (a bridge), Stays.
type Fact interface {
	fmt.Stringer
	Add(*kernel.Kernel) error
	Del(*kernel.Kernel) error
	Check(*kernel.Kernel) error
}

// Stays is embedded in a Fact that DEL leaves.
type Stays struct{}

// Del does nothing.
func (Stays) Del(*kernel.Kernel) error { return nil }

// Plan is what one attachment wants, in the order in which it can come true, and
// the clean-up: facts that ask for nothing (Idle) and are there for their Del,
// which removes what a former configuration has asked for.
type Plan []Fact

// wanted is the plan without the clean-up.
func (p Plan) wanted() Plan { return slices.DeleteFunc(slices.Clone(p), Idle) }

// Add makes every fact true that is wanted, or none. The one that failed is undone
// too: an answer that was lost does not say that nothing was done.
func (p Plan) Add(k *kernel.Kernel) error {
	wanted := p.wanted()
	for i, f := range wanted {
		err := f.Add(k)
		if err == nil {
			continue
		}
		if !errors.Is(err, fs.ErrExist) && !errors.As(err, new(refused)) {
			i++
		}
		k.Renew()
		return errors.Join(about("", f, err), wanted[:i].Del(k))
	}
	return nil
}

// Refused marks the error of an Add that has not begun: what is there is not the
// fact's to undo.
func Refused(err error) error { return refused{err} }

type refused struct{ error }

func (r refused) Unwrap() error { return r.error }

// ledger is a fact by which what comes behind it in the plan is found: it goes only
// when that is gone.
type ledger interface{ Ledger() }

// Del makes every fact untrue, last first, and does not stop at one that fails.
// The clean-up keeps its place among the others: what a former configuration has
// made is taken away in the order in which that would have.
func (p Plan) Del(k *kernel.Kernel) error {
	var errs []error
	for _, f := range slices.Backward(p) {
		if _, is := f.(ledger); is && len(errs) > 0 {
			continue // the next DEL needs it
		}
		if err := f.Del(k); err != nil {
			errs = append(errs, about("undo ", f, err))
			k.Renew()
		}
	}
	return errors.Join(errs...)
}

// batch is a fact of which many are deleted faster together. What fails then is
// left to their Del.
type batch interface {
	Fact
	DelTogether(k *kernel.Kernel, all []Fact)
}

// DelAll is Del for the plans of many attachments.
func DelAll(k *kernel.Kernel, plans []Plan) error {
	together := map[reflect.Type][]Fact{}
	for _, f := range slices.Concat(plans...) {
		if _, ok := f.(batch); ok {
			together[reflect.TypeOf(f)] = append(together[reflect.TypeOf(f)], f)
		}
	}
	for _, all := range together {
		all[0].(batch).DelTogether(k, all)
	}
	return ForEach(plans, func(p Plan) error { return p.Del(k) })
}

// about says which fact an error is of, in a few words; where those are not all
// of its text, that is in the details. What says itself what is in the way needs
// none before it.
func about(doing string, f Fact, err error) error {
	text := f.String()
	short := Short(f)
	if cni.IsTaken(err) {
		return cni.Concerning(err, text)
	}
	err = fmt.Errorf("%s%s: %w", doing, short, cni.Alone(err))
	if short != text {
		err = cni.Concerning(err, text)
	}
	return err
}

// shortText is how long a text may be that comes before an error.
const shortText = 80

// Short is a fact in a few words, for errors.
func Short(f Fact) string {
	if s, ok := f.(interface{ Short() string }); ok {
		return s.Short()
	}
	text := f.String()
	if len(text) <= shortText {
		return text
	}
	return text[:strings.LastIndexByte(text[:shortText], ' ')+1] + "..."
}

// Made reports whether an ADD of the attachment has made something that a fact of
// the plan would take back. Facts that cannot tell are passed over.
func (p Plan) Made(k *kernel.Kernel) (bool, error) {
	for _, f := range p {
		if made, err := Made(f, k); made || err != nil {
			return made, err
		}
	}
	return false, nil
}

// Made is the same for one fact.
func Made(f Fact, k *kernel.Kernel) (bool, error) {
	if m, ok := f.(interface {
		Made(*kernel.Kernel) (bool, error)
	}); ok {
		return m.Made(k)
	}
	return false, nil
}

// Without is the plan less the facts that another one has. A fact's text, which
// is for people, need not say all of it.
func (p Plan) Without(other Plan) Plan {
	return slices.DeleteFunc(slices.Clone(p), func(f Fact) bool {
		return slices.ContainsFunc(other, func(has Fact) bool { return reflect.DeepEqual(f, has) })
	})
}

// Check names every fact that is wanted and does not hold.
func (p Plan) Check(k *kernel.Kernel) error {
	return ForEach(p.wanted(), func(f Fact) error {
		if err := f.Check(k); err != nil {
			return about("", f, err)
		}
		return nil
	})
}

// String is the plan as text, a fact a line, as ADD makes them true: what golden
// tests compare.
func (p Plan) String() string {
	var b strings.Builder
	for _, f := range p.wanted() {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}

// ForEach does something with each of a list, whatever becomes of the others.
func ForEach[T any](list []T, do func(T) error) error {
	errs := make([]error, len(list))
	for i, one := range list {
		errs[i] = do(one)
	}
	return errors.Join(errs...)
}

// Idle reports whether a fact asks for nothing.
func Idle(f Fact) bool {
	i, ok := f.(interface{ Idle() bool })
	return ok && i.Idle()
}
