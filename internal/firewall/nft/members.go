package nft

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// Kinds of members.
const (
	KindMasquerade = "masquerade"
	KindGuard      = "guard"
	KindGuardMAC   = "guard-mac"
	KindPorts      = "ports"
	KindLocalnet   = "localnet"
	KindIngress    = "ingress"
	KindIsolated   = "isolated"
	KindForward    = "forward"
)

var kinds = []string{KindMasquerade, KindGuard, KindGuardMAC, KindPorts, KindLocalnet, KindIngress, KindIsolated, KindForward}

// exclusive reports whether members are refused where somebody else has one of
// them. Others pass from a former owner to the new one.
func exclusive(kind string) bool { return kind == KindPorts }

// Element is one member of a set or map.
type Element struct {
	wire.Element
	// Shared members belong to nobody, and stay.
	Shared bool `json:"shared,omitempty"`
	// Text is the element as the nft program writes it.
	Text string `json:"text"`
}

func (e Element) String() string { return e.Set + " { " + e.Text + " }" }

func element(set string, key []byte, text string, values ...any) Element {
	return Element{Element: wire.Element{Set: set, Key: key}, Text: fmt.Sprintf(text, values...)}
}

// Members are what one attachment has in a table, of one kind. They come and go
// in one batch. What was put there is recorded (see record.go), so that DEL
// needs nothing but the attachment.
type Members struct {
	Owner name.Attachment
	// Kind tells the attachment's members apart: masquerade, guard, ports.
	Kind     string
	Elements []Element

	table   *table
	profile *Profile
}

// shown is how many members a text names: a thousand ports fill no error.
const shown = 16

func (m Members) String() string {
	words := []string{"nft  " + m.Kind}
	for _, e := range m.Elements[:min(shown, len(m.Elements))] {
		words = append(words, e.String())
	}
	if more := len(m.Elements) - shown; more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	if m.profile != nil {
		words = append(words, "with "+m.profile.String())
	}
	return strings.Join(words, " ")
}

// Short is what errors call them.
func (m Members) Short() string { return "nft " + m.Kind }

// Idle says that nothing is asked for; Del still removes what the record says.
func (m Members) Idle() bool { return len(m.Elements) == 0 }

// Made reports whether the attachment has members of the kind.
func (m Members) Made(*kernel.Kernel) (bool, error) { return records(m.Kind).Has(m.Owner), nil }

// Add claims the record, which a second ADD of the same attachment finds taken,
// and then puts the members into the table.
func (m Members) Add(k *kernel.Kernel) error {
	if m.Idle() {
		return nil
	}
	claimed := false
	err := overCall(k, func(c conn) error {
		err := m.claim(c, k)
		if claimed = err == nil; claimed {
			err = (&insertion{Members: m}).run(c)
		}
		return err
	})
	if err != nil && claimed {
		// Some may be there: the answer that they are may be lost, or who found the
		// table gone has put back what records say, and that was one.
		err = errors.Join(err, m.Del(k))
	}
	return err
}

// Del takes away the members that the record says, as far as they are still
// the attachment's. Where nftables cannot do it now, the record becomes a pending
// one for the next call of any plugin, and the DEL goes on.
func (m Members) Del(k *kernel.Kernel) error {
	r, err := records(m.Kind).Lift(m.Owner)
	switch {
	case err == nil:
		return r.discard(k)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, state.ErrDamaged):
		return m.record().discard(k) // what this call knows of
	}
	return err
}

// Check looks whether every member is there, is the attachment's, and leads
// where it should.
func (m Members) Check(k *kernel.Kernel) error {
	if m.Idle() {
		return nil
	}
	var all []Element
	for _, e := range m.Elements {
		_, counted := e.counted()
		all = append(append(all, e), counted...)
	}
	return overCall(k, func(c conn) error {
		have, err := c.getEach(m.table, all)
		for i, f := range have {
			err = errors.Join(err, m.compare(all[i], f))
		}
		return err
	})
}

func (m Members) compare(e Element, f wire.Found) error {
	switch {
	case !f.Is(e.Element):
		return fmt.Errorf("%v is not there: %w", e, fs.ErrNotExist)
	case e.Shared:
		return nil
	case exclusive(m.Kind) && ofSameContainer(m.Owner, f.Comment): // which was first, if this one has come at all
		_, err := records(m.Kind).Read(m.Owner)
		return err
	case f.Comment != m.Owner.Comment():
		return fmt.Errorf("%v is %s's", e, f.Comment)
	case !bytes.Equal(f.Data, e.Data) && e.Data != nil:
		return fmt.Errorf("%v leads elsewhere", e)
	}
	return nil
}

// conn is a netfilter socket in the host's namespace.
type conn struct{ *wire.Conn }

// overCall does something over the call's socket.
func overCall(k *kernel.Kernel, do func(conn) error) error {
	c, err := kernel.Netfilter(k, wire.Dial)
	if err != nil {
		return err
	}
	return do(conn{c})
}

// withConn does something over a socket of its own.
func withConn(do func(conn) error) error {
	c, err := wire.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	return do(conn{c})
}

// getEach asks the kernel for elements.
func (c conn) getEach(t *table, elements []Element) (found []wire.Found, err error) {
	for _, e := range elements {
		f, err := c.Get(t.Table, e.Element)
		if err != nil {
			return nil, err
		}
		found = append(found, f)
	}
	return found, nil
}
