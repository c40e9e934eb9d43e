package plugin

import (
	"errors"
	"fmt"
	"io"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/conf"
	"github.com/catena-cni/catena/internal/name"
)

// IPAM is a plugin that gives addresses. Its configuration C is that of the
// plugin that delegates to it, of which it reads the part "ipam".
type IPAM[C any] struct {
	Name string
	// Args are the keys of CNI_ARGS that the plugin knows; nil allows any.
	Args []string

	// Validate is as a Plugin's. DEL does without it where it fails.
	Validate func(*At, *C) error
	// Give takes addresses, all that are wanted or none.
	Give func(At, C) (*cni.Result, error)
	// Free gives back what the attachment has, and succeeds where it has nothing.
	Free func(At, C) error
	// Holds looks whether the attachment has what the result says.
	Holds func(At, C) error
	// Keep gives back what the network's attachments have that are not valid.
	Keep func(network string, valid []name.Attachment, c C) error
	// Ready looks whether Give could succeed now.
	Ready func(network string, c C) error
	// Foresee is the result that Give would have, without taking anything.
	Foresee func(At, C) (*cni.Result, error)
}

func (p IPAM[C]) title() string   { return p.Name }
func (p IPAM[C]) needsName() bool { return true }

// shapes leave the keys beside ipam to the plugin that delegates.
func (p IPAM[C]) shapes() []any { return []any{new(C), map[string]any(nil)} }

func (p IPAM[C]) read(r *cni.Request) (at At, c C, err error) {
	at = At{Attachment: r.Attachment, Netns: r.Netns, Result: cni.NewResult()}
	at.Request = r
	at.Args, err = cni.ParseArgs(r.Args, p.Args...)
	if p.Args == nil {
		err = nil
	}
	err = errors.Join(err, conf.Decode(r.Stdin, &c), conf.Validate(&c))
	if err == nil && p.Validate != nil {
		err = cni.WithCode(cni.CodeConfig, p.Validate(&at, &c))
	}
	return at, c, err
}

func (p IPAM[C]) add(r *cni.Request) (*cni.Result, func() error, error) {
	at, c, err := p.read(r)
	if err != nil {
		return nil, nil, err
	}
	result, err := p.Give(at, c)
	if err != nil {
		return nil, nil, err
	}
	return result, func() error { return p.Free(at, c) }, nil
}

func (p IPAM[C]) del(r *cni.Request) error {
	at, c, _ := p.read(r)
	return p.Free(at, c)
}

func (p IPAM[C]) check(r *cni.Request) error {
	at, c, err := p.read(r)
	if err != nil {
		return err
	}
	prev, err := r.PrevResult()
	if err != nil {
		return err
	}
	if prev == nil {
		return cni.Errorf(cni.CodeConfig, "CHECK needs the prevResult that the ADD ended with")
	}
	at.Result = prev
	return p.Holds(at, c)
}

func (p IPAM[C]) status(r *cni.Request) error {
	_, c, err := p.read(r)
	if err != nil {
		return err
	}
	return cni.WithCode(cni.CodeNotReady, p.Ready(r.Network, c))
}

func (p IPAM[C]) gc(r *cni.Request, valid []name.Attachment) error {
	_, c, _ := p.read(r)
	return p.Keep(r.Network, valid, c)
}

func (p IPAM[C]) preview(r *cni.Request) (*cni.Result, error) {
	at, c, err := p.read(r)
	if err != nil {
		return nil, err
	}
	return p.Foresee(at, c)
}

func (p IPAM[C]) plan(r *cni.Request, w io.Writer) error {
	result, err := p.preview(r)
	if err != nil {
		return err
	}
	for _, ip := range result.IPs {
		fmt.Fprintf(w, "lease %v to %s\n", cni.Prefix(ip.Address), r.Attachment)
	}
	return nil
}
