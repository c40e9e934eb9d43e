package nft

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/lists"
	"github.com/catena-cni/catena/internal/state"
)

// Where a chain of others would drop what it has no rule for, a rule of ours
// accepts what is admitted. It comes last, right before the drop: what the
// chain's own rules say of a packet counts. In the chain FORWARD of iptables
// another rule leads admitted packets first through the administrator's chain,
// where there is one of that name. Both are made once, whatever the number of
// pods, and stay; without pods they match nothing.

// The comments by which our rules in other tables are known.
const (
	ourComment  = "catena: "
	lastComment = ourComment + "pods are forwarded, see table inet catena"
)

func adminComment(chain string) string { return ourComment + "pods first go through " + chain }

// opened remembers, in the file "rules", what keepOpen is to look for.
const opened = state.Folder("/run/catena/nft/opened")

type openings struct {
	// Admins are the names of chains that go first.
	Admins []string `json:"admins"`
	Rules  []place  `json:"rules"`
}

// place is a rule of ours in another table.
type place struct {
	Family uint8  `json:"family"`
	Table  string `json:"table"`
	Chain  string `json:"chain"`
	Handle uint64 `json:"handle"`
}

func readOpenings() (o openings, known bool) {
	b, err := opened.Read("rules")
	return o, err == nil && json.Unmarshal(b, &o) == nil
}

// keepOpen puts our rules in other tables back where one is gone. Where Forward
// was never asked for, that is not to be known.
func (c conn) keepOpen() error {
	o, known := readOpenings()
	if !known {
		return nil
	}
	for _, p := range o.Rules {
		there, err := c.has(p)
		if err != nil {
			return err
		}
		if !there {
			return c.reopen()
		}
	}
	return nil
}

// reopen looks at all chains of others again where Forward was ever asked for.
func (c conn) reopen() error {
	if _, known := readOpenings(); !known {
		return nil
	}
	return c.open(bothFamilies)
}

// Reopen is for GC: somebody may have begun to drop since.
func Reopen() error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.Close()
	return c.reopen()
}

func (c conn) has(p place) (bool, error) {
	answers, err := c.Ask(wire.Table{Family: p.Family}.Message(unix.NFT_MSG_GETRULE, 0,
		wire.String(unix.NFTA_RULE_TABLE, p.Table), wire.String(unix.NFTA_RULE_CHAIN, p.Chain),
		wire.Bytes(unix.NFTA_RULE_HANDLE, binary.BigEndian.AppendUint64(nil, p.Handle)),
	))
	if errors.Is(err, unix.ENOENT) || len(answers) == 0 {
		return false, nil
	}
	return strings.HasPrefix(decodeRule(answers[0]).Comment, ourComment), err
}

// families says which of the two are looked at.
type families struct{ four, six bool }

var bothFamilies = families{true, true}

// of reports whether a table of that family matters.
func (w families) of(family uint8) bool {
	return family == unix.NFPROTO_INET || w.four && family == unix.NFPROTO_IPV4 || w.six && family == unix.NFPROTO_IPV6
}

// open makes every chain of others forward what is admitted. What cannot be
// opened is an error if its family matters. The names of administrators' chains
// are added to those that are known.
func (c conn) open(matters families, admins ...string) error {
	o, _ := readOpenings()
	for _, a := range o.Admins {
		if !slices.Contains(admins, a) {
			admins = append(admins, a)
		}
	}
	chains, err := c.foreigners()
	if err != nil {
		return err
	}
	now := openings{Admins: admins}
	var errs []error
	for _, f := range chains {
		places, err := c.openOne(f, admins)
		now.Rules = append(now.Rules, places...)
		if matters.of(f.Family) {
			errs = append(errs, err)
		}
	}
	if b, err := json.Marshal(now); err == nil {
		if have, _ := opened.Read("rules"); !bytes.Equal(have, b) {
			errs = append(errs, opened.Replace("rules", b))
		}
	}
	return errors.Join(errs...)
}

// openOne opens one chain and gives our rules in it.
func (c conn) openOne(f foreign, admins []string) (places []place, err error) {
	for range tries {
		generation, err := c.Generation()
		if err != nil {
			return nil, err
		}
		batch, have, err := c.opening(f, admins)
		if err != nil {
			return nil, err
		}
		if len(batch) == 0 {
			return have, nil
		}
		if err := c.Commit(batch, generation); err != nil && !errors.Is(err, unix.ERESTART) && !errors.Is(err, unix.ENOENT) {
			return nil, closed(f, err)
		}
	}
	return nil, fmt.Errorf("%v: the ruleset changed %d times while a rule was to be added", f, tries)
}

// closed says that a chain cannot be opened.
func closed(f foreign, err error) error {
	err = fmt.Errorf("%v drops what is forwarded to pods, and takes no rule that accepts it: %w", f, err)
	if f.Table.Name == "firewalld" {
		return cni.Hint(err, `firewalld owns its table: set "backend": "firewalld" in firewall's configuration`)
	}
	return cni.Hint(err, "let the program that the table belongs to accept what comes from the pods' addresses and goes there")
}

// opening gives the messages that a chain needs to be open, and our rules that
// are there already.
func (c conn) opening(f foreign, admins []string) (batch []wire.Message, have []place, err error) {
	rules, err := c.rules(f.Table, f.name)
	if err != nil {
		return nil, nil, err
	}
	theirs := lists.Without(rules, func(r Rule) bool { return strings.HasPrefix(r.Comment, ourComment) })
	word, at, err := c.lastWord(f, theirs, 0)
	if err != nil {
		return nil, nil, err
	}
	var before uint64 // the handle of the rule that drops
	if word == dropped {
		before = theirs[at].handle
	}
	want := map[string]bool{lastComment: word == dropped || word != accepted && f.policy == wire.VerdictDrop}
	for _, a := range admins {
		there, err := c.hasAdmin(f, a)
		if err != nil {
			return nil, nil, err
		}
		want[adminComment(a)] = there
	}
	passed := false // the rule that drops
	for _, r := range rules {
		passed = passed || before != 0 && r.handle == before
		switch ours := strings.HasPrefix(r.Comment, ourComment); {
		case ours && want[r.Comment] && !(passed && r.Comment == lastComment):
			have = append(have, place{f.Family, f.Table.Name, f.name, r.handle})
			want[r.Comment] = false
		case ours && r.Comment == lastComment: // it is there twice, or comes too late
			batch = append(batch, Without(f.Table, f.name, r).m)
		}
	}
	for _, a := range admins {
		if want[adminComment(a)] {
			batch = append(batch, f.addRule(0, unix.NLM_F_CREATE, adminComment(a), wire.Jump(a)))
		}
	}
	switch {
	case want[lastComment] && before != 0:
		batch = append(batch, f.addRule(before, unix.NLM_F_CREATE, lastComment, wire.Accept()))
	case want[lastComment]:
		batch = append(batch, f.addRule(0, unix.NLM_F_CREATE|unix.NLM_F_APPEND, lastComment, wire.Accept()))
	}
	return batch, have, nil
}

// hasAdmin reports whether the chain is iptables', with an administrator's
// chain of that name beside it.
func (c conn) hasAdmin(f foreign, name string) (bool, error) {
	if !f.iptables() || name == "" {
		return false, nil
	}
	return c.hasChain(f.Table, name)
}

// addRule adds a rule about what is admitted: before another one's handle, or
// at the head, or with NLM_F_APPEND at the end.
func (f foreign) addRule(before uint64, flags uint16, text string, verdict wire.Expr) wire.Message {
	exprs := marked(forwardBit)
	if f.iptables() {
		exprs = wire.One(xtMark(1 << forwardBit))
	}
	body := append(ruleAttrs(f.Table, f.name),
		wire.Nest(unix.NFTA_RULE_EXPRESSIONS, append(exprs, wire.Expression("counter"), verdict)...),
		wire.Bytes(unix.NFTA_RULE_USERDATA, wire.Comment(text)))
	if before != 0 {
		body = append(body, wire.Bytes(unix.NFTA_RULE_POSITION, binary.BigEndian.AppendUint64(nil, before)))
	}
	return f.in(unix.NFT_MSG_NEWRULE, flags, body...)
}

// xtMark is marked in the words of iptables (struct xt_mark_mtinfo1). Versions
// of iptables before 1.8.8 show a rule with the other form as if it had no
// condition, and would store it so.
func xtMark(m uint32) wire.Expr {
	info := append(append(wire.Native(m), wire.Native(m)...), 0, 0, 0, 0)
	const name, revision, infoAttr = 1, 2, 3 // NFTA_MATCH_*
	return wire.Expression("match", wire.String(name, "mark"), wire.U32(revision, 1), wire.Bytes(infoAttr, info))
}

// blocked says which chains of others would drop admitted packets now, and
// could not be changed. It changes nothing.
func (c conn) blocked(matters families) error {
	chains, err := c.foreigners()
	errs := []error{err}
	for _, f := range chains {
		if !matters.of(f.Family) {
			continue
		}
		batch, _, err := c.opening(f, nil)
		if err == nil && len(batch) > 0 {
			if err = c.Rehearse(batch); err != nil {
				err = closed(f, err)
			}
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// shut names the chains of others that drop admitted packets now.
func (c conn) shut(matters families) error {
	chains, err := c.foreigners()
	errs := []error{err, legacyDrops(matters)}
	for _, f := range chains {
		if !matters.of(f.Family) {
			continue
		}
		batch, _, err := c.opening(f, nil)
		if err == nil && len(batch) > 0 {
			err = fmt.Errorf("%v drops what is forwarded to pods: it has lost the rule that accepts it: %w", f, fs.ErrNotExist)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
