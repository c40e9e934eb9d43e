// Package link is the facts about network interfaces: one file for each kind.
package link

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/vishvananda/netlink"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/name"
)

// remove deletes a link by name. One that is not there is success, and so is
// one whose namespace is gone.
func remove(k *kernel.Kernel, side kernel.Side, link string) error {
	l, err := k.Link(side, link)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	h, err := k.NL(side)
	if err != nil {
		return err
	}
	k.Forget(side, link)
	if err := kernel.Cause(h.LinkDel(l)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// isKind refuses a link of another kind than the one that is wanted.
func isKind(l netlink.Link, kind string) error {
	if l.Type() != kind {
		return fmt.Errorf("link %s is a %s, not a %s", l.Attrs().Name, l.Type(), kind)
	}
	return nil
}

// Attachments lists the attachments that have a link on the host, by the
// links' aliases. It dumps every link, so it is for GC alone.
func Attachments(k *kernel.Kernel) ([]name.Attachment, error) {
	h, err := k.NL(kernel.Host)
	if err != nil {
		return nil, err
	}
	links, err := h.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list the host's links: %w", err)
	}
	var out []name.Attachment
	for _, l := range links {
		at, err := name.Parse(l.Attrs().Alias)
		if err == nil && at.HostLink() == l.Attrs().Name {
			out = append(out, at)
		}
	}
	return out, nil
}

// Free reports an error where a link of that name is in the pod already.
func Free(k *kernel.Kernel, side kernel.Side, link string) error {
	_, err := k.Link(side, link)
	switch {
	case err == nil:
		return fmt.Errorf("interface %s is in the %v's network namespace already: %w", link, side, fs.ErrExist)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}
