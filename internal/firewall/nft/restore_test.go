package nft

import (
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

// TestPending: what DEL could not remove goes at the next call of any plugin, and
// DEL reports no error.
func TestPending(t *testing.T) {
	s := kerneltest.New(t)
	k := s.Kernel()
	gone, there := Masquerade(pod("c1", "10.1.2.3/24")), Masquerade(pod("c2", "10.1.2.4/24"))
	plan := WithRestore(fact.Plan{there})
	for _, p := range []fact.Plan{{gone}, plan} {
		if err := p.Add(k); err != nil {
			t.Fatal(err)
		}
	}
	r, err := records(KindMasquerade).Read(gone.Owner)
	if err != nil {
		t.Fatal(err)
	}
	if err := pending(KindMasquerade).Replace(r); err != nil {
		t.Fatal(err)
	}
	if err := records(KindMasquerade).Remove(gone.Owner); err != nil {
		t.Fatal(err)
	}
	if err := plan.Check(k); err != nil {
		t.Fatal(err)
	}
	if text := s.Run("nft list set inet catena masq4"); strings.Contains(text, "n/c1/") || !strings.Contains(text, "n/c2/") {
		t.Errorf("what was pending is there, or another one's is gone:\n%s", text)
	}
	if pending(KindMasquerade).Has(gone.Owner) {
		t.Error("it is still pending")
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
