package plan_test

import (
	"reflect"
	"testing"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/plan"
)

// fact is one that has more to it than its text, and that == cannot compare.
type fact struct {
	text   string
	values []string
}

func (f fact) String() string           { return f.text }
func (fact) Add(*kernel.Kernel) error   { return nil }
func (fact) Del(*kernel.Kernel) error   { return nil }
func (fact) Check(*kernel.Kernel) error { return nil }

// TestWithout: two facts of one text are two facts, and one fact is the same in
// another plan.
func TestWithout(t *testing.T) {
	one := func(values ...string) plan.Fact { return fact{"link eth0", values} }
	have := plan.Plan{one("a"), fact{"other", nil}}
	got := plan.Plan{one("a"), one("b"), one("a", "b"), fact{"another", nil}}.Without(have)
	want := plan.Plan{one("b"), one("a", "b"), fact{"another", nil}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, not %+v", got, want)
	}
	if got := want.Without(nil); !reflect.DeepEqual(got, want) {
		t.Errorf("less nothing it is %+v", got)
	}
}
