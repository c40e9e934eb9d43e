package fact_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// sample is one that has more to it than its text, and that == cannot compare.
type sample struct {
	text   string
	values []string
}

func (f sample) String() string           { return f.text }
func (sample) Add(*kernel.Kernel) error   { return nil }
func (sample) Del(*kernel.Kernel) error   { return nil }
func (sample) Check(*kernel.Kernel) error { return nil }

// TestWithout: two facts of one text are two facts, and one fact is the same in
// another plan.
func TestWithout(t *testing.T) {
	one := func(values ...string) fact.Fact { return sample{"link eth0", values} }
	have := fact.Plan{one("a"), sample{"other", nil}}
	got := fact.Plan{one("a"), one("b"), one("a", "b"), sample{"another", nil}}.Without(have)
	want := fact.Plan{one("b"), one("a", "b"), sample{"another", nil}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, not %+v", got, want)
	}
	if got := want.Without(nil); !reflect.DeepEqual(got, want) {
		t.Errorf("less nothing it is %+v", got)
	}
}

// idle is a fact that asks for nothing, and fails when it is asked.
type idle struct{ failing }

func (idle) Idle() bool { return true }

// TestIdle: a fact that asks for nothing is neither made true nor looked at.
func TestIdle(t *testing.T) {
	p := fact.Plan{idle{failing{"nothing", errors.New("it was asked")}}}
	if err := errors.Join(p.Add(nil), p.Check(nil)); err != nil || p.String() != "" {
		t.Errorf("%v, %q", err, p.String())
	}
}
