package iptables

import (
	"errors"
	"slices"
	"strings"

	goiptables "github.com/coreos/go-iptables/iptables"

	"github.com/catena-cni/catena/internal/state/name"
)

// own is an attachment's own chain in the table nat. Its name is upstream's, which
// all interfaces of a container in a network would share: so it is the first
// one's, and another has a name of its own.
type own struct {
	owner              name.Attachment
	kind, prefix, from string
}

func (o own) upstreams() chain {
	return chain{"nat", o.owner.UpstreamChain(o.prefix), []string{o.from}}
}

func (o own) another() chain {
	return chain{"nat", (o.prefix + name.Digits("chain\x00"+o.owner.String()))[:chainMax], []string{o.from}}
}

// chain is the one that the attachment has by its record.
func (o own) chain() chain {
	if r, err := records(o.kind).Read(o.owner); err == nil && r.Chain == o.another().name {
		return o.another()
	}
	return o.upstreams()
}

// free are the chains that no other attachment has.
func (o own) free(others []record) []chain {
	if slices.ContainsFunc(others, func(r record) bool { return r.Chain == o.upstreams().name }) {
		return []chain{o.another()}
	}
	return []chain{o.upstreams(), o.another()}
}

// remove removes the attachment's chains, whoever made them, and says whether
// there were any.
func (o own) remove() (removed bool, err error) {
	others, err := others(o.kind, o.owner)
	if err != nil {
		return false, err
	}
	for _, c := range o.free(others) {
		there, rerr := c.remove()
		removed, err = removed || there, errors.Join(err, rerr)
	}
	return removed, err
}

// collect removes the chains of a network's attachments that are not valid, by
// the comments of the jumps to them, which begin with the text.
func (o own) collect(text string, valid []name.Attachment) error {
	var keep []string
	for _, o.owner = range valid {
		keep = append(keep, o.upstreams().name, o.another().name)
	}
	stale := func(comment, jump string) bool {
		return strings.HasPrefix(comment, text+" ") && strings.HasPrefix(jump, o.prefix) && !slices.Contains(keep, jump)
	}
	has := func(p place) (bool, error) { return p.hasRule(o.from, text+" ", stale) }
	_, err := wherever("nat", has, func(ipt *goiptables.IPTables) error {
		rules, err := list(ipt, "nat", o.from)
		for _, r := range rules {
			if stale(r.comment(), r.jump()) {
				err = errors.Join(err, chain{"nat", r.jump(), []string{o.from}}.removeFrom(ipt))
			}
		}
		return err
	})
	return err
}
