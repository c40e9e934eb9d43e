package nft

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// Members are what one attachment has in a table, of one kind. They come and go
// in one batch. What was put there is recorded (see record.go), so that DEL
// needs nothing but the attachment.
type Members struct {
	Owner name.Attachment
	// Kind tells the attachment's members apart: masquerade, guard, ports.
	Kind     string
	Elements []Element
	// Exclusive members are refused where somebody else has one of them. Others
	// pass from a former owner to the new one.
	Exclusive bool

	table   *table
	profile *Profile
	claims  *claims // of exclusive members
	// mappings and from are what the members of ports are made of.
	mappings []Mapping
	from     Sources
}

// claims is what there is to do about exclusive members alone: about host ports.
// Plugins without them need not carry it.
type claims struct {
	holder    func(c conn, t *table, e Element, own name.Attachment) (h held, near bool, err error)
	contested func(c conn, t *table, elements []Element) ([]Element, error)
	recorded  func(Members) (Members, bool)
	parts     func(Members) []part
	// single are the elements with none for a row.
	single func(Members) []Element
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
func (m Members) Made(*kernel.Kernel) (bool, error) {
	_, err := readRecord(m.key())
	return !errors.Is(err, fs.ErrNotExist), nil
}

func (m Members) key() string { return m.Owner.Key() + "." + m.Kind }

// Add claims the record, which a second ADD of the same attachment finds taken,
// and then puts the members into the table.
func (m Members) Add(k *kernel.Kernel) error {
	if m.Idle() {
		return nil
	}
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.Close()
	c.sweep()
	c.heal()
	if err := m.claim(c, k); err != nil {
		return err
	}
	try := attempt{Members: m, settled: map[string]bool{}}
	if err := try.insert(c); err != nil {
		// Some may be there: who found the table gone has put back what records
		// say, and that was one.
		return errors.Join(err, c.withdraw(try.record()), records.Remove(m.key()))
	}
	return nil
}

// tries bounds how often somebody else may come in between.
const tries = 100

// insert sends the members, and sends them again with what the kernel's answer
// says is missing or in the way. Each answer has one remedy, used once; only
// what others do meanwhile can come again.
func (a *attempt) insert(c conn) error {
	for range tries {
		batch := a.batch()
		err := c.commit(batch.messages, 0)
		var refused batchError
		switch {
		case err == nil:
			if a.static {
				err = rehearsed.Replace(a.table.madeKey(), nil)
			}
			alone, aerr := a.alone(c)
			if err = errors.Join(err, aerr); err != nil || alone {
				return err
			}
			continue
		case !errors.As(err, &refused):
			return err
		}
		if err := a.remedy(c, refused, batch.at); err != nil {
			return err
		}
	}
	return fmt.Errorf("the ruleset changed %d times while members were to be added", tries)
}

// attempt is how the members are sent the next time.
type attempt struct {
	Members
	static    bool            // with the table's static part before them
	settled   map[string]bool // exclusive members that are there already, in one's own name or another's of the container
	beside    []part          // what comes behind the static part
	there     map[int]bool    // those of them that are there already
	replace   bool            // in place of a former owner's
	cleared   name.Attachment // the dead holder that was swept away last
	converged map[string]bool
	before    []message // what makes room for a shared member
}

// thePart stands for the message that is refused where the first part is there;
// those of the others are below it.
const thePart = -2

// sending is a batch in the making: messages, and for each the index of its
// element, less than 0 for others.
type sending struct {
	messages []message
	at       []int
}

func (s *sending) add(element int, more ...message) {
	s.messages = append(s.messages, more...)
	for range more {
		s.at = append(s.at, element)
	}
}

func (a *attempt) batch() (batch sending) {
	if a.static {
		batch.add(-1, a.table.static()...)
		for i, p := range a.beside {
			if !a.there[i] {
				batch.add(thePart-i, p[0])
				batch.add(-1, p[1:]...)
			}
		}
	}
	batch.add(-1, append([]message{a.table.touch()}, a.before...)...)
	for i, e := range a.Elements {
		batch.add(i, a.messages(e)...)
	}
	return batch
}

func (a *attempt) messages(e Element) []message {
	plain := func(flags uint16, comment string) message {
		return a.table.elementMessage(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE|flags, e.Set, e.encode(comment))
	}
	with := func(m ...message) []message { return append(a.table.hold(e), m...) }
	switch {
	case a.settled[e.String()]:
		return nil
	case e.Shared && a.converged[e.Text]:
		return nil
	case e.Shared:
		return []message{plain(0, "")}
	case a.replace:
		gone := a.table.elementMessage(unix.NFT_MSG_DELSETELEM, 0, e.Set, e.encode(""))
		return with(plain(0, ""), gone, plain(unix.NLM_F_EXCL, a.Owner.Comment()))
	}
	return with(plain(unix.NLM_F_EXCL, a.Owner.Comment()))
}

// remedy changes the attempt so that it may succeed, or says why it cannot.
func (a *attempt) remedy(c conn, refused batchError, at []int) error {
	about := -1
	if refused.index >= 0 && refused.index < len(at) {
		about = at[refused.index]
	}
	var element *Element
	if about >= 0 {
		element = &a.Elements[about]
	}
	switch {
	case errors.Is(refused, unix.EEXIST) && about <= thePart:
		a.there[thePart-about] = true
		return nil
	case errors.Is(refused, unix.ENOENT) && !a.static:
		a.static, a.there = true, map[int]bool{}
		if a.claims != nil {
			a.beside = a.claims.parts(a.Members)
		}
		return nil
	case errors.Is(refused, unix.EEXIST) && element != nil && element.Shared && !a.converged[element.Text]:
		return a.converge(c, *element)
	case errors.Is(refused, unix.EEXIST) && element != nil && a.claims != nil:
		return a.settle(c, *element)
	case errors.Is(refused, unix.EEXIST) && element != nil && !a.replace:
		a.replace = true
		return nil
	}
	if element != nil {
		return fmt.Errorf("%v: %w", *element, refused.err)
	}
	return fmt.Errorf("table %s: %w", a.table.name, refused.err)
}

// settle finds out what is in the way of an exclusive member. It may be there in
// one's own name: put back from the record, by somebody who found the table gone
// just now. It may be another attachment's of the same container, which this one
// then waits for. Who is gone again need not be asked.
func (a *attempt) settle(c conn, e Element) error {
	f, there, err := c.get(a.table, e)
	switch {
	case err != nil:
		return err
	case there && f.comment == a.Owner.Comment():
		a.settled[e.String()] = true
		return nil
	case there && beside(a.Owner, f.comment):
		return a.wait(c)
	}
	h, near, err := a.claims.holder(c, a.table, e, a.Owner)
	switch {
	case err != nil:
		return err
	case h.by != "":
		return a.yield(c, h)
	case near:
		return a.spread()
	}
	return nil
}

// wait settles all members that are there, in one's own name or in that of
// another attachment of the container, which passes them on when it goes. One
// whose pod is gone for good gives way.
func (a *attempt) wait(c conn) error {
	if err := c.queue(a.Owner); err != nil {
		return err
	}
	have, err := c.getEach(a.table, a.Elements)
	if err != nil {
		return err
	}
	of := map[string]bool{a.Owner.Comment(): true}
	for i, e := range a.Elements {
		if e.Shared || !have[i].is(e) {
			continue
		}
		comment := have[i].comment
		mine, known := of[comment]
		if !known {
			at, read := ownerOf(comment)
			if mine = read && at.ContainerID == a.Owner.ContainerID; mine {
				if gone, err := c.sweepDead(at, a.Kind); err != nil || gone {
					return err
				}
			}
			of[comment] = mine
		}
		a.settled[e.String()] = mine
	}
	return nil
}

// spread has a member for each port of a row, where another attachment of the
// container has some of them.
func (a *attempt) spread() error {
	a.Elements, a.static = a.claims.single(a.Members), false
	r, err := readRecord(a.key())
	if err != nil {
		return err
	}
	r.Elements = a.Elements
	content, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return records.Replace(a.key(), content)
}

// alone makes sure that exclusive members overlap nobody else's. The kernel
// refuses one that begins or ends inside another of its set, but not one that
// holds another, nor one beside another set's. As this looks after the members
// are there, of two pods that come at the same time one at least sees the other.
// Where it finds somebody it takes the members away again, and then the other's
// if that pod is gone. A row beside ports of the same container is spread, so
// that who was first keeps them.
func (a *attempt) alone(c conn) (bool, error) {
	if a.claims == nil {
		return true, nil
	}
	contested, err := a.claims.contested(c, a.table, a.Elements)
	if err != nil {
		return false, errors.Join(err, a.takeBack(c))
	}
	for _, e := range contested {
		h, near, err := a.claims.holder(c, a.table, e, a.Owner)
		near = near && e.End != nil && !a.settled[e.String()]
		if err == nil && h.by == "" && !near {
			continue
		}
		if err = errors.Join(err, a.takeBack(c)); err != nil {
			return false, err
		}
		if h.by == "" {
			return false, a.spread()
		}
		return false, a.yield(c, h)
	}
	return true, nil
}

func (a *attempt) takeBack(c conn) error {
	clear(a.settled)
	return c.remove(a.record())
}

// yield takes a member over where its holder's network namespace is gone, and
// else tells who has it.
func (a *attempt) yield(c conn, h held) error {
	if at, known := ownerOf(h.by); known && at != a.Owner && at != a.cleared {
		a.cleared = at
		if gone, err := c.sweepDead(at, a.Kind); err != nil || gone {
			return err
		}
	}
	err := cni.Taken("%s is held by %s", h.what, h.by)
	return cni.Hint(err, "detach (DEL) "+h.by+" first, or give one of the two another host port or hostIP")
}

// overlap compares two concatenations of ranges part by part.
func overlap(parts []datatype, first, firstEnd, second, secondEnd []byte) bool {
	if firstEnd == nil {
		firstEnd = first
	}
	if secondEnd == nil {
		secondEnd = second
	}
	at := 0
	for _, p := range parts {
		to := at + int(p.size)
		if len(first) < to || len(second) < to || len(firstEnd) < to || len(secondEnd) < to {
			return false
		}
		if bytes.Compare(first[at:to], secondEnd[at:to]) > 0 || bytes.Compare(second[at:to], firstEnd[at:to]) > 0 {
			return false
		}
		at = (to + 3) &^ 3
	}
	return true
}

// converge makes room for a shared member that overlaps others. They are
// subnets, so one holds the other: where the wider one is there it is enough,
// else it replaces the narrower ones.
func (a *attempt) converge(c conn, e Element) error {
	have, err := c.dump(a.table, e.Set)
	if err != nil {
		return err
	}
	s, err := a.table.setNamed(e.Set)
	if err != nil {
		return err
	}
	if a.converged == nil {
		a.converged = map[string]bool{}
	}
	for _, f := range have {
		if !overlap(s.key, f.key, f.end, e.Key, e.End) {
			continue
		}
		if bytes.Compare(f.key, e.Key) <= 0 && bytes.Compare(f.end, e.End) >= 0 {
			a.converged[e.Text] = true
			return nil
		}
		narrower := Element{Key: f.key, End: f.end}
		a.before = append(a.before, a.table.elementMessage(unix.NFT_MSG_DELSETELEM, 0, e.Set, narrower.encode("")))
	}
	a.before = append(a.before, a.table.member(&e, ""))
	a.converged[e.Text] = true
	return nil
}
