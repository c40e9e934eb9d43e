package fact_test

import (
	"errors"
	"io/fs"
	"reflect"
	"testing"

	"github.com/catena-cni/catena/internal/cni"
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

// told is a fact that says what was done with it.
type told struct {
	failing
	del  error
	said *[]string
}

func (f told) Del(*kernel.Kernel) error {
	*f.said = append(*f.said, f.text)
	return f.del
}

// ledger is one by which those behind it are found.
type ledger struct{ told }

func (ledger) Ledger() {}

// TestFailedIsUndone: a fact that failed is undone with those before it, as the
// kernel's answer may be lost; what is there already may be somebody else's.
func TestFailedIsUndone(t *testing.T) {
	for err, want := range map[error][]string{errors.New("no answer"): {"b", "a"}, fs.ErrExist: {"a"}, cni.Taken("it is"): {"a"}, fact.Refused(errors.New("not that")): {"a"}} {
		var said []string
		p := fact.Plan{told{failing{"a", nil}, nil, &said}, told{failing{"b", err}, nil, &said}, told{failing{"c", nil}, nil, &said}}
		if got := p.Add(kernel.OpenHost("")); !errors.Is(got, err) || !reflect.DeepEqual(said, want) {
			t.Errorf("%v: undone is %v, not %v", got, said, want)
		}
	}
}

// TestLedger: what others are found by stays as long as one of them does.
func TestLedger(t *testing.T) {
	for err, want := range map[error][]string{errors.New("no"): {"c", "a"}, nil: {"c", "b", "a"}} {
		var said []string
		p := fact.Plan{told{failing{"a", nil}, nil, &said}, ledger{told{failing{"b", nil}, nil, &said}}, told{failing{"c", nil}, err, &said}}
		if got := p.Del(kernel.OpenHost("")); !errors.Is(got, err) || !reflect.DeepEqual(said, want) {
			t.Errorf("%v: undone is %v, not %v", got, said, want)
		}
	}
}
