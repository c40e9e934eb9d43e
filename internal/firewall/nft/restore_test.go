package nft

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/state/name"
)

func pod(id, address string) (name.Attachment, []netip.Prefix) {
	return name.Attachment{Network: "n", ContainerID: id, IfName: "eth0"}, []netip.Prefix{netip.MustParsePrefix(address)}
}

// TestRestoreByAdd: an ADD that finds its table gone only when it sends its
// members, since the reload came after the fact that restores, brings back what
// others had there too.
func TestRestoreByAdd(t *testing.T) {
	s := kerneltest.New(t)
	k := s.Kernel()
	first := Masquerade(pod("c1", "10.1.2.3/24"))
	bridged := NewBridgePolicy(first.Owner)
	bridged.Bridge = "br0"
	second := Masquerade(pod("c2", "10.1.2.4/16"))
	for _, f := range []fact.Fact{first, bridged} {
		if err := f.Add(k); err != nil {
			t.Fatal(err)
		}
	}
	s.Run("nft flush ruleset")
	if err := first.Check(k); err == nil {
		t.Error("CHECK of a member alone sees nothing")
	}
	if err := second.Add(k); err != nil {
		t.Fatal(err)
	}
	for _, f := range []fact.Fact{first, bridged, second} {
		if err := f.Check(k); err != nil {
			t.Error(err)
		}
	}
	for _, f := range []fact.Fact{first, bridged, second} {
		if err := f.Del(k); err != nil {
			t.Error(err)
		}
	}
	s.Lacks("nft list ruleset", "n/c", "refs_")
}

// TestPending: what DEL could not remove goes at the next call of any plugin, also
// the pod's own: its next DEL, and its next ADD, whose members stay.
func TestPending(t *testing.T) {
	s := kerneltest.New(t)
	k := s.Kernel()
	gone, there := Masquerade(pod("c1", "10.1.2.3/24")), Masquerade(pod("c2", "10.1.2.4/24"))
	plan := WithRestore(fact.Plan{there})
	if err := plan.Add(k); err != nil {
		t.Fatal(err)
	}
	for _, next := range []struct {
		by   string
		call func() error
		left bool
	}{
		{"another's CHECK", func() error { return plan.Check(k) }, false},
		{"the pod's DEL", func() error { return WithRestore(fact.Plan{Masquerade(gone.Owner, nil)}).Del(k) }, false},
		{"the pod's ADD", func() error { return errors.Join(gone.Add(k), plan.Check(k)) }, true},
	} {
		if err := gone.Add(k); err != nil {
			t.Fatal(err)
		}
		r, err := records(KindMasquerade).Read(gone.Owner)
		err = errors.Join(err, pending(KindMasquerade).Replace(r), records(KindMasquerade).Remove(gone.Owner))
		if err == nil {
			err = next.call()
		}
		if err != nil {
			t.Fatalf("%s: %v", next.by, err)
		}
		if text := s.Run("nft list set inet catena masq4"); strings.Contains(text, "n/c1/") != next.left || !strings.Contains(text, "n/c2/") {
			t.Errorf("%s: the pod's members are as wanted: %t; or another one's are gone:\n%s", next.by, next.left, text)
		}
		if pending(KindMasquerade).Has(gone.Owner) {
			t.Errorf("%s: it is still pending", next.by)
		}
	}
}

// TestWithRestore: the fact is in the plan of who has members, also behind
// another fact, and idle else; DEL comes to it first.
func TestWithRestore(t *testing.T) {
	owner, pods := pod("c1", "10.1.2.3/24")
	for want, p := range map[bool]fact.Plan{
		true:  {Masquerade(owner, nil), wrapped{Masquerade(owner, pods)}},
		false: {Masquerade(owner, nil), wrapped{Masquerade(owner, nil)}},
	} {
		got := WithRestore(p)
		if len(got) != 4 || fact.Idle(got[0]) == want || got[3] != (restoreFirst{}) {
			t.Errorf("%v: %v", want, got)
		}
	}
}

type wrapped struct{ fact.Fact }

func (w wrapped) Unwrap() fact.Fact { return w.Fact }
func (w wrapped) Idle() bool        { return fact.Idle(w.Fact) }
