package plugin

import (
	"errors"
	"fmt"
	"io"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/state/name"
)

// IPAM is a plugin that gives addresses.
type IPAM struct {
	Name string
	// Args are the keys of CNI_ARGS that the plugin knows; nil allows any.
	Args []string
	// New is an empty configuration. It is read from that of the plugin that
	// delegates, of which it is the part "ipam".
	New func() Giver
}

// Giver is an IPAM plugin's configuration, and what the plugin does by it.
type Giver interface {
	// Validate is as a Plugin's. DEL does without it where it fails.
	Validate(*At) error
	// Give takes addresses, all that are wanted or none.
	Give(At) (*cni.Result, error)
	// Free gives back what the attachment has, and succeeds where it has nothing.
	Free(At) error
	// Holds looks whether the attachment has what the result says.
	Holds(At) error
	// Keep gives back what the network's attachments have that are not valid.
	Keep(network string, valid []name.Attachment) error
	// FreeDead gives back what the network's attachments have that are provably
	// gone.
	FreeDead(network string) error
	// Ready looks whether Give could succeed now.
	Ready(network string) error
	// Foresee is the result that Give would have, without taking anything.
	Foresee(At) (*cni.Result, error)
}

func (p IPAM) title() string   { return p.Name }
func (p IPAM) needsName() bool { return true }

// shapes leave the keys beside ipam to the plugin that delegates.
func (p IPAM) shapes() []any { return []any{p.New(), map[string]any(nil)} }

func (p IPAM) read(r *cni.Request) (at At, c Giver, err error) {
	c = p.New()
	at = At{Attachment: r.Attachment, Netns: r.Netns, Result: cni.NewResult()}
	at.Request = r
	at.Args, err = cni.ParseArgs(r.Args, p.Args...)
	if p.Args == nil {
		err = nil
	}
	err = errors.Join(err, r.Doc.Read(c))
	if err == nil {
		err = cni.WithCode(cni.CodeConfig, c.Validate(&at))
	}
	return at, c, err
}

func (p IPAM) add(r *cni.Request) (*cni.Result, func() error, error) {
	at, c, err := p.read(r)
	if err != nil {
		return nil, nil, err
	}
	result, err := c.Give(at)
	if err != nil {
		return nil, nil, err
	}
	return result, func() error { return c.Free(at) }, nil
}

func (p IPAM) del(r *cni.Request) error {
	at, c, _ := p.read(r)
	return c.Free(at)
}

func (p IPAM) check(r *cni.Request) error {
	at, c, err := p.read(r)
	if err != nil {
		return err
	}
	prev, err := r.PrevResult()
	if err != nil {
		return err
	}
	if prev == nil {
		return errNoPrevResult
	}
	at.Result = prev
	return c.Holds(at)
}

func (p IPAM) status(r *cni.Request) error {
	_, c, err := p.read(r)
	if err != nil {
		return err
	}
	return cni.WithCode(cni.CodeNotReady, c.Ready(r.Network))
}

func (p IPAM) gc(r *cni.Request, valid []name.Attachment) error {
	_, c, _ := p.read(r)
	return c.Keep(r.Network, valid)
}

func (p IPAM) gcDead(r *cni.Request) error {
	_, c, _ := p.read(r)
	return c.FreeDead(r.Network)
}

func (p IPAM) preview(r *cni.Request) (*cni.Result, error) {
	at, c, err := p.read(r)
	if err != nil {
		return nil, err
	}
	return c.Foresee(at)
}

func (p IPAM) plan(r *cni.Request, w io.Writer) error {
	result, err := p.preview(r)
	if err != nil {
		return err
	}
	for _, ip := range result.IPs {
		fmt.Fprintf(w, "lease %v to %s\n", cni.Prefix(ip.Address), r.Attachment)
	}
	return nil
}
