// Package ipam is what the plugins have in common that give addresses. They are
// programs of their own (internal/plugin), and some are part of others' programs
// too, which call them with values.
package ipam

import (
	"errors"
	"os"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/state/name"
)

// Call is one call of an IPAM plugin.
type Call struct {
	name.Attachment
	// Netns is the path of the pod's network namespace. It may be empty.
	Netns string
	// Args are the pairs of CNI_ARGS.
	Args map[string]string
	// Prev is the result of the chain, for CHECK.
	Prev *cni.Result
	// Request is the call as it came, for a plugin that hands it on.
	Request *cni.Request
}

// IPs are the addresses of Prev that belong to the pod's interface.
func (c Call) IPs() []*cni.IPConfig { return cni.IPsOf(c.Prev, c.IfName, c.Netns) }

// Giver is an IPAM plugin's configuration, and what the plugin does by it.
type Giver interface {
	// Validate holds the configuration against itself and the call. DEL does
	// without it where it fails.
	Validate(Call) error
	// Give takes addresses, all that are wanted or none.
	Give(Call) (*cni.Result, error)
	// Free gives back what the attachment has, and succeeds where it has nothing.
	Free(Call) error
	// Holds looks whether the attachment has what the result says.
	Holds(Call) error
	// Keep gives back what the network's attachments have that are not valid.
	Keep(network string, valid []name.Attachment) error
	// FreeDead gives back what the network's attachments have that are provably
	// gone.
	FreeDead(network string) error
	// Ready looks whether Give could succeed now.
	Ready(network string) error
	// Foresee is the result that Give would have, without taking anything.
	Foresee(Call) (*cni.Result, error)
}

// Plugin is an IPAM plugin.
type Plugin struct {
	Name string
	// Args are the keys of CNI_ARGS that the plugin knows; nil allows any.
	Args []string
	// New is an empty configuration. It is read from that of the plugin that
	// delegates, of which it is the part "ipam".
	New func() Giver
}

// Shapes are the types that read the configuration. Keys beside ipam are left to
// the plugin that delegates.
func (p Plugin) Shapes() []any { return []any{p.New(), map[string]any(nil)} }

func (p Plugin) read(r *cni.Request) (c Call, g Giver, err error) {
	g = p.New()
	c = Call{Attachment: r.Attachment, Netns: r.Netns, Request: r}
	c.Args, err = cni.ParseArgs(r.Args, p.Args...)
	if p.Args == nil {
		err = nil
	}
	err = errors.Join(err, r.Doc.Read(g))
	if err == nil {
		err = cni.WithCode(cni.CodeConfig, g.Validate(c))
	}
	return c, g, err
}

// Do is a verb. Of ADD there is a result. A DEL and a GC do what they can of a
// configuration that has errors.
func (p Plugin) Do(r *cni.Request) (*cni.Result, error) {
	c, g, err := p.read(r)
	switch {
	case r.Verb == cni.Del:
		return nil, g.Free(c)
	case r.Verb == cni.GC:
		if valid, given := r.ValidAttachments(); given {
			return nil, g.Keep(r.Network, valid)
		}
		return nil, g.FreeDead(r.Network)
	case err != nil:
		return nil, err
	case r.Verb == cni.Add:
		return g.Give(c)
	case r.Verb == cni.Status:
		return nil, cni.WithCode(cni.CodeNotReady, g.Ready(r.Network))
	}
	if c.Prev, err = r.PrevResult(); err != nil {
		return nil, err
	}
	if c.Prev == nil {
		return nil, cni.ErrNoPrevResult
	}
	return nil, g.Holds(c)
}

// Foresee is the result that ADD would have.
func (p Plugin) Foresee(r *cni.Request) (*cni.Result, error) {
	c, g, err := p.read(r)
	if err != nil {
		return nil, err
	}
	return g.Foresee(c)
}

// Builtin is Do for a plugin that is part of another one's program. The result is
// what it would be after it was printed in the configuration's version.
func (p Plugin) Builtin(r *cni.Request, verb string) (*cni.Result, error) {
	as := *r
	as.Verb = verb
	if verb == cni.Add {
		if err := r.Warn(os.Stderr, p.Name, p.Shapes()...); err != nil {
			return nil, err
		}
	}
	result, err := p.Do(&as)
	if err != nil || verb != cni.Add {
		return nil, err
	}
	return cni.AsVersion(result, r.Conf.CNIVersion)
}
