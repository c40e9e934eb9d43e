package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/plugin/delegated"
	"github.com/catena-cni/catena/internal/state"
)

// Delegator is a plugin that makes nothing itself: it composes the configuration
// of another plugin out of its own configuration C and of what it finds on the
// host, and forwards every verb to that one. What an attachment was made with is
// kept, so that it is taken away with the same.
type Delegator[C any] struct {
	Name string

	// Validate is as a Plugin's. DEL and GC do without it where it fails.
	Validate func(*Call, *C) error
	// Compose is the configuration of the other plugin. Beside an error, of the
	// host's, comes what can be said all the same: enough for a plugin that finds
	// by attachment what it has made.
	Compose func(*cni.Request, C) (delegated.Conf, error)
	// Holds looks whether the host still has what an attachment was made with.
	Holds func(C, delegated.Conf) error
	// Folder is where is kept what attachments were made with.
	Folder func(C) state.Folder
}

func (p Delegator[C]) title() string   { return p.Name }
func (p Delegator[C]) shapes() []any   { return []any{new(C)} }
func (p Delegator[C]) needsName() bool { return true }

// Read is as a Plugin's.
func (p Delegator[C]) Read(r *cni.Request) (c C, err error) {
	_, err = r.PrevResult()
	err = errors.Join(err, r.Doc.Read(&c))
	if err == nil && p.Validate != nil {
		call := Call{Attachment: r.Attachment, Netns: r.Netns, Result: cni.NewResult()}
		err = cni.WithCode(cni.CodeConfig, p.Validate(&call, &c))
	}
	return c, err
}

// compose is for the verbs that need the whole of it. The code is for what the
// host has not.
func (p Delegator[C]) compose(r *cni.Request, code uint) (c C, d delegated.Conf, err error) {
	if c, err = p.Read(r); err != nil {
		return c, nil, err
	}
	d, err = p.Compose(r, c)
	return c, d, cni.WithCode(code, err)
}

// forward executes the other plugin for a verb, or with an argument.
func (p Delegator[C]) forward(r *cni.Request, verb string, d delegated.Conf, args ...string) ([]byte, error) {
	plugin, err := d.Type()
	if err != nil {
		return nil, err
	}
	if r, err = r.With(verb, d); err != nil {
		return nil, err
	}
	return r.Delegate(plugin, verb, args...)
}

func (p Delegator[C]) add(r *cni.Request) (*cni.Result, func() error, error) {
	// What the host has not yet, it may have soon.
	c, d, err := p.compose(r, cni.CodeTryAgain)
	if err == nil {
		err = p.prepare(r, c, d)
	}
	if err != nil {
		return nil, nil, err
	}
	kept, before, err := delegated.Keep(p.Folder(c), r.Attachment, r.Netns, d)
	if err != nil {
		return nil, nil, err
	}
	undo := func() error { return p.detach(r, kept) }
	out, err := p.forward(r, cni.Add, d)
	if err != nil && (before.Alive() || cni.AsError(err).Code == cni.CodeExists) {
		// Something is attached, and was before this call: a DEL would take it.
		return nil, nil, errors.Join(err, before.Restore())
	}
	var result *cni.Result
	if err == nil {
		result, err = cni.ParseResult("the plugin that "+p.Name+" calls", out, r.Conf.CNIVersion)
	}
	if err != nil {
		return nil, nil, errors.Join(err, undo())
	}
	return result, undo, nil
}

// prepare looks for the other plugin before anything is kept for it, and takes
// away what another network has left of the same interface of the same
// container, if nothing lives there.
func (p Delegator[C]) prepare(r *cni.Request, c C, d delegated.Conf) error {
	plugin, err := d.Type()
	if err == nil {
		_, err = cni.Find(plugin, r.Path)
	}
	if err != nil {
		return err
	}
	kept, err := delegated.Find(p.Folder(c), r.Attachment)
	switch {
	case err != nil || kept.Owner == r.Attachment:
		return nil
	case kept.Abandoned():
		return p.detach(r, kept)
	}
	err = cni.Taken("%s is of %s", kept.File(), kept.Owner)
	return cni.Hint(err, fmt.Sprintf("detach (DEL) %s first", kept.Owner))
}

// detach executes the other plugin's DEL with what an attachment was made with,
// and forgets that only when it has succeeded.
func (p Delegator[C]) detach(r *cni.Request, kept delegated.Record) error {
	if kept.Owner != r.Attachment {
		other := *r
		other.Attachment, other.Netns, other.Conf.PrevResult = kept.Owner, kept.Netns, nil
		r = &other
	}
	if _, err := p.forward(r, cni.Del, kept.Conf); err != nil {
		return err
	}
	return kept.Remove()
}

func (p Delegator[C]) del(r *cni.Request) error {
	// What is wrong with the configuration is not what DEL is about.
	c, confErr := p.Read(r)
	kept, err := delegated.Find(p.Folder(c), r.Attachment)
	switch {
	case err == nil && kept.Owner == r.Attachment:
		return p.detach(r, kept)
	case err == nil:
		return nil // of this network nothing was made there
	case errors.Is(err, state.ErrDamaged):
		_ = kept.SetAside(err)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	d, composeErr := p.Compose(r, c)
	_, err = p.forward(r, cni.Del, d)
	if err != nil && (errors.Join(confErr, composeErr) != nil || cni.AsError(err).Code == cni.CodeMissing) {
		// Most likely nothing was ever made. An error would come for ever, and would
		// keep a pod that has nothing from ending.
		fmt.Fprintf(os.Stderr, "catena %s: %s: nothing is kept of it, and there is nothing to take away: %s\n", p.Name, r.Attachment, cni.AsError(err).Msg)
		return nil
	}
	return err
}

func (p Delegator[C]) check(r *cni.Request) error {
	c, err := p.Read(r)
	if err != nil {
		return err
	}
	if prev, _ := r.PrevResult(); prev == nil {
		return cni.ErrNoPrevResult
	}
	kept, err := delegated.Find(p.Folder(c), r.Attachment)
	if err == nil && kept.Owner != r.Attachment {
		err = fmt.Errorf("%s is of %s", kept.File(), kept.Owner)
	}
	if err != nil {
		err = cni.Errorf(cni.CodeDrift, "what %s was made with is not kept: %w", r.Attachment, err)
		return cni.Hint(err, "detach (DEL) and attach (ADD) the pod again")
	}
	_, err = p.forward(r, cni.Check, kept.Conf)
	return errors.Join(cni.WithCode(cni.CodeDrift, p.Holds(c, kept.Conf)), err)
}

// gc takes away what was made for attachments that are not valid any more, each
// with what it was made with, and then asks the other plugin to do the same: it
// may know of more.
func (p Delegator[C]) gc(r *cni.Request) error {
	c, _ := p.Read(r)
	valid, given := r.ValidAttachments()
	stale, err := delegated.Stale(p.Folder(c), r.Network, valid)
	if !given {
		stale = slices.DeleteFunc(stale, delegated.Record.Alive)
	}
	errs := []error{err}
	for _, kept := range stale {
		errs = append(errs, p.detach(r, kept))
	}
	d, _ := p.Compose(r, c)
	_, err = p.forward(r, cni.GC, d)
	return errors.Join(append(errs, err)...)
}

func (p Delegator[C]) status(r *cni.Request) error {
	c, d, err := p.compose(r, cni.CodeNotReady)
	if err != nil {
		return err
	}
	if err = p.Folder(c).Writable(); err == nil {
		_, err = p.forward(r, cni.Status, d)
	}
	return cni.WithCode(cni.CodeNotReady, err)
}

// ask has the other plugin say to people what it would do. One that is not ours
// may say nothing.
func (p Delegator[C]) ask(r *cni.Request, word string) (c C, d delegated.Conf, out []byte, err error) {
	if c, d, err = p.compose(r, cni.CodeTryAgain); err == nil {
		out, err = p.forward(r, "", d, word)
	}
	return c, d, out, err
}

func (p Delegator[C]) preview(r *cni.Request) (*cni.Result, error) {
	_, _, out, err := p.ask(r, "result")
	if err != nil || len(out) == 0 {
		return cni.NewResult(), err
	}
	return cni.ParseResult("the plugin that "+p.Name+" calls", out, r.Conf.CNIVersion)
}

func (p Delegator[C]) plan(r *cni.Request, w io.Writer) error {
	c, d, out, err := p.ask(r, "plan")
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "keep %s\n%s\n%s", delegated.File(p.Folder(c), r.Attachment), text, out)
	return err
}
