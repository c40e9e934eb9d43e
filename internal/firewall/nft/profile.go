package nft

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/catena-cni/catena/internal/firewall/nft/conditions"
	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/state/name"
)

// Profile is a way to treat host ports that differs from the default: under
// conditions, or with another bit of the mark. All who ask for the same share
// one. It is made with the first that asks for it and stays, as a rule and
// empty sets cost nothing worth the race of removing them.
//
//	chain profiles       the conditions, jump ports_<hash>
//	chain ports_<hash>   what the chains hairpin and ports do, with sets of its own
//	chain marks          masquerade by the bit
//
// A profile without conditions has its ports in the default sets, so that they
// and others exclude one another, and only its marks to itself.
type Profile struct {
	// Suffix of the names of its sets and its chain: a hash of the rest.
	Suffix string `json:"suffix"`
	// MarkBit says which bit of the mark asks for masquerading.
	MarkBit int `json:"markBit"`
	// V4 and V6 are the conditions as they were written.
	V4 []string `json:"v4,omitempty"`
	V6 []string `json:"v6,omitempty"`

	// parts are the messages that make it. They are made here and not where they
	// are sent, so that plugins without profiles do not carry them.
	parts part
}

// NewProfile reads conditions. What is the default is no profile, but nil.
func NewProfile(markBit int, v4, v6 []string) (*Profile, error) {
	if markBit == DefaultMarkBit && len(v4) == 0 && len(v6) == 0 {
		return nil, nil
	}
	if markBit == forwardBit {
		return nil, fmt.Errorf("markMasqBit is %d: that bit says which packets firewall lets through; take another one", markBit)
	}
	p := &Profile{MarkBit: markBit, V4: v4, V6: v6}
	var matches [2]wire.Rule
	for i, words := range [][]string{v4, v6} {
		rule, err := conditions.Parse(words, i == 1, uint32(profileIDs+100*(i+1)))
		if err != nil {
			return nil, fmt.Errorf("conditionsV%d: %w", 4+2*i, err)
		}
		matches[i] = rule
	}
	h := name.Hash(p.String())
	p.Suffix = "_" + hex.EncodeToString(h[:4])
	p.parts = p.static(inet, matches)
	return p, nil
}

func (p *Profile) String() string {
	text := fmt.Sprintf("mark bit %d", p.MarkBit)
	for i, words := range [][]string{p.V4, p.V6} {
		if len(words) > 0 {
			text += fmt.Sprintf(", IPv%d if %s", 4+2*i, strings.Join(words, " "))
		}
	}
	return text
}

func (p *Profile) conditional() bool { return p != nil && len(p.V4)+len(p.V6) > 0 }

// portSuffix and hairpinSuffix are what the names of the sets end in.
func (p *Profile) portSuffix() string {
	if !p.conditional() {
		return ""
	}
	return p.Suffix
}

func (p *Profile) hairpinSuffix() string {
	if p == nil {
		return ""
	}
	return p.Suffix
}

// static makes the profile, of what packets of each of the two families must
// match. Its first message is refused where it is there already, so that of two
// who make it at once the rules come in only once.
func (p *Profile) static(t *table, matches [2]wire.Rule) part {
	chain := "ports" + p.Suffix
	batch := part{exclusively(t.NewChain(wire.Chain{Name: chain}))}
	if p.conditional() {
		for i, s := range portSets(p.Suffix) {
			batch = append(batch, t.NewSet(s, uint32(i+1)))
		}
		batch = append(batch, t.NewRules(chain, portRules(p.Suffix, profileIDs)...)...)
	}
	for i, family := range [][]wire.Expr{wire.Family4(), wire.Family6()} {
		r := wire.Match(family, matches[i].Exprs, wire.One(wire.Jump(chain)))
		r.Anonymous = matches[i].Anonymous
		batch = append(batch, t.NewRules("profiles", r)...)
	}
	if p.MarkBit != DefaultMarkBit {
		batch = append(batch, t.NewRules("marks", masqueradeMarked(p.MarkBit))...)
	}
	return batch
}
