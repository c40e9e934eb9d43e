package kerneltest

import (
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// Case is a plan that the four laws of every plugin are held against.
type Case struct {
	Plan fact.Plan
	// Other is another attachment's plan, which comes and goes beforehand: what
	// is shared is then there already.
	Other fact.Plan
	// Setup prepares the sandbox, such as with the link that a plugin before
	// this one in a chain has made.
	Setup func(*Sandbox)
	// Look is a shell command that shows what Sandbox.Text does not.
	Look string
	// Undo says how an administrator breaks each fact by hand.
	Undo []Undo
	// Needs are features of the kernel.
	Needs []string
	// Again: a second ADD is no error but changes nothing, as for what only
	// brings a setting about.
	Again bool
}

// Undo is a shell command that breaks the facts whose text matches. An empty
// command says that there is nothing of the fact that CHECK could look at.
type Undo struct{ Fact, Command string }

// UndoInterface breaks the facts of a pod's eth0 that has the addresses
// 10.1.2.3/24 and fd00:1:2::3/64, whatever link it is.
func UndoInterface() []Undo {
	return []Undo{
		{Fact: `^sysctl pod`},
		{Fact: `^addr pod eth0 10.1.2.3`, Command: "pod ip addr del 10.1.2.3/24 dev eth0"},
		{Fact: `^addr pod eth0 fd00`, Command: "pod ip addr del fd00:1:2::3/64 dev eth0"},
		{Fact: `^up   pod`, Command: "pod ip link set eth0 down"},
		{Fact: `^dad`},
		{Fact: `^tell`},
	}
}

// Prove holds a plan against the four laws: DEL leaves nothing and can be
// repeated; an ADD that fails at any step leaves nothing; a second ADD harms
// nothing; CHECK sees every f that is not as it should be.
func Prove(t *testing.T, c Case) {
	t.Helper()
	if c.Needs != nil {
		Needs(t, c.Needs...)
	}
	t.Run("add check del del", func(t *testing.T) { t.Parallel(); c.addCheckDel(t) })
	t.Run("every step fails", func(t *testing.T) { t.Parallel(); c.everyStepFails(t) })
	t.Run("second add", func(t *testing.T) { t.Parallel(); c.secondAdd(t) })
	t.Run("del without the pod", func(t *testing.T) { t.Parallel(); c.delWithoutPod(t) })
	for _, f := range c.Plan {
		if fact.Idle(f) {
			continue
		}
		text := f.String()
		t.Run("check sees "+text[:min(60, len(text))], func(t *testing.T) { t.Parallel(); c.checkSees(t, f) })
	}
}

func (c Case) start(t *testing.T) (*Sandbox, *kernel.Kernel) {
	t.Helper()
	s := New(t)
	if c.Setup != nil {
		c.Setup(s)
	}
	k := s.Kernel()
	if err := c.Other.Add(k); err != nil {
		t.Fatalf("the other attachment: %v", err)
	}
	if err := c.Other.Del(k); err != nil {
		t.Fatalf("the other attachment: %v", err)
	}
	return s, s.Kernel()
}

func (c Case) text(s *Sandbox) string {
	if c.Look == "" {
		return s.Text()
	}
	return s.Text() + s.Run(c.Look)
}

func (c Case) addCheckDel(t *testing.T) {
	s, k := c.start(t)
	before := c.text(s)
	if err := c.Plan.Add(k); err != nil {
		t.Fatal(err)
	}
	if err := c.Plan.Check(s.Kernel()); err != nil {
		t.Error(err)
	}
	for range 2 { // a runtime may say DEL twice
		if err := c.Plan.Del(s.Kernel()); err != nil {
			t.Error(err)
		}
	}
	s.Same("DEL", before, c.text(s))
}

// everyStepFails stops the plan at each of its facts in turn.
func (c Case) everyStepFails(t *testing.T) {
	s, _ := c.start(t)
	before := c.text(s)
	for i := range len(c.Plan) + 1 {
		broken := append(slices.Clone(c.Plan[:i]), fault{})
		if err := broken.Add(s.Kernel()); !errors.Is(err, errFault) {
			t.Fatalf("step %d: %v", i, err)
		}
		s.Same("rollback", before, c.text(s))
	}
}

func (c Case) secondAdd(t *testing.T) {
	s, k := c.start(t)
	if err := c.Plan.Add(k); err != nil {
		t.Fatal(err)
	}
	whole := c.text(s)
	err := c.Plan.Add(s.Kernel())
	if !c.Again && !errors.Is(err, os.ErrExist) {
		t.Errorf("second ADD: %v", err)
	}
	if c.Again && err != nil {
		t.Errorf("second ADD: %v", err)
	}
	s.Same("second ADD", whole, c.text(s))
	if err := c.Plan.Check(s.Kernel()); err != nil {
		t.Errorf("after a second ADD: %v", err)
	}
}

// delWithoutPod is DEL when the runtime has removed the namespace before.
func (c Case) delWithoutPod(t *testing.T) {
	s, k := c.start(t)
	before := s.HostText()
	if err := c.Plan.Add(k); err != nil {
		t.Fatal(err)
	}
	if err := c.Plan.Del(kernel.OpenHost("")); err != nil {
		t.Error(err)
	}
	s.Same("DEL without the pod", before, s.HostText())
}

func (c Case) checkSees(t *testing.T, fact fact.Fact) {
	undo := slices.IndexFunc(c.Undo, func(u Undo) bool { return regexp.MustCompile(u.Fact).MatchString(fact.String()) })
	if undo < 0 {
		t.Fatalf("no Undo says how to break: %v", fact)
	}
	if c.Undo[undo].Command == "" {
		return
	}
	s, k := c.start(t)
	if err := c.Plan.Add(k); err != nil {
		t.Fatal(err)
	}
	s.Run(c.Undo[undo].Command)
	err := c.Plan.Check(s.Kernel())
	if err == nil || !strings.Contains(cni.AsError(err).Msg+cni.AsError(err).Details, fact.String()) {
		t.Errorf("CHECK does not see it: %v", err)
	}
}

var errFault = errors.New("fault")

// fault is a fact that cannot come true.
type fault struct{}

func (fault) String() string             { return "fault" }
func (fault) Add(*kernel.Kernel) error   { return errFault }
func (fault) Del(*kernel.Kernel) error   { return nil }
func (fault) Check(*kernel.Kernel) error { return nil }
