package nft

import (
	"fmt"
	"slices"
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
	// MarkBit says which bit of the mark asks for masquerading.
	MarkBit int `json:"markBit"`
	// V4 and V6 are the conditions as they were written.
	V4 []string `json:"v4,omitempty"`
	V6 []string `json:"v6,omitempty"`
}

// NewProfile reads conditions. What is the default is no profile, but nil.
func NewProfile(markBit int, v4, v6 []string) (*Profile, error) {
	if markBit == DefaultMarkBit && len(v4) == 0 && len(v6) == 0 {
		return nil, nil
	}
	if markBit == forwardBit {
		return nil, fmt.Errorf("markMasqBit is %d: that bit says which packets firewall lets through; take another one", markBit)
	}
	p := &Profile{markBit, v4, v6}
	_, err := p.static(inet)
	return p, err
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

// suffix is what the names of the profile's chain and of its sets end in.
func (p *Profile) suffix() string {
	return "_" + name.Digits(p.String())[:8]
}

// portSuffix and hairpinSuffix are what the names of a port's sets end in.
func (p *Profile) portSuffix() string {
	if !p.conditional() {
		return ""
	}
	return p.suffix()
}

func (p *Profile) hairpinSuffix() string {
	if p == nil {
		return ""
	}
	return p.suffix()
}

// static makes the profile.
func (p *Profile) static(t *table) (part, error) {
	chain := "ports" + p.suffix()
	batch := part{exclusively(t.NewChain(chain, nil))}
	if p.conditional() {
		for i, s := range portSets(p.suffix()) {
			batch = append(batch, t.NewSet(s, uint32(i+1)))
		}
		batch = append(batch, t.NewRules(chain, portRules(p.suffix(), profileIDs)...)...)
	}
	for i, words := range [][]string{p.V4, p.V6} {
		r, err := conditions.Parse(words, i == 1, uint32(profileIDs+100*(i+1)))
		if err != nil {
			return nil, fmt.Errorf("conditionsV%d: %w", 4+2*i, err)
		}
		r.Exprs = slices.Concat([]family{ipv4, ipv6}[i].match(), r.Exprs, wire.One(wire.Jump(chain)))
		batch = append(batch, t.NewRules("profiles", r)...)
	}
	if p.MarkBit != DefaultMarkBit {
		batch = append(batch, t.NewRules("marks", masqueradeMarked(p.MarkBit))...)
	}
	return batch, nil
}
