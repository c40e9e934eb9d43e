// Package hostlocal is the plugin host-local: it gives out addresses of the
// host's own ranges, which internal/ipam/lease keeps in files.
package hostlocal

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/ipam"
	"github.com/catena-cni/catena/internal/ipam/lease"
	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// Plugin is host-local, as its program and those that it is a part of run it.
var Plugin = ipam.Plugin{
	Name: "host-local",
	Args: []string{"IP"},
	New:  func() ipam.Giver { return new(Conf) },
}

// Give takes an address of each set.
func (c *Conf) Give(call ipam.Call) (*cni.Result, error) { return c.result(call, (*lease.Store).Add) }

// Foresee looks which addresses Give would take.
func (c *Conf) Foresee(call ipam.Call) (*cni.Result, error) {
	return c.result(call, (*lease.Store).Preview)
}

// result reads everything that can be wrong before it takes an address.
func (c *Conf) result(call ipam.Call, take func(*lease.Store, lease.Request) ([]lease.Lease, error)) (*cni.Result, error) {
	r := cni.NewResult()
	r.Routes = c.routes
	var err error
	if r.DNS, err = c.dns(); err != nil {
		return nil, err
	}
	var leases []lease.Lease
	err = c.withLeases(call.Network, func(s *lease.Store) (err error) {
		leases, err = take(s, lease.Request{
			Owner: owner(call.Attachment), Netns: call.Netns, Sets: c.sets, Requested: c.requested,
			Sticky: c.IPAM.StickyKey != "", Identity: c.identity,
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, l := range leases {
		r.IPs = append(r.IPs, &cni.IPConfig{Address: cni.IPNet(l.Address), Gateway: l.Gateway.AsSlice()})
	}
	return r, nil
}

func owner(a name.Attachment) lease.Owner {
	return lease.Owner{ContainerID: a.ContainerID, IfName: a.IfName}
}

// withLeases does something with the network's leases. It needs no more of the
// configuration than dataDir, and so it serves a DEL when the rest is wrong.
func (c *Conf) withLeases(network string, do func(*lease.Store) error) error {
	s, err := lease.Open(c.IPAM.DataDir, network)
	if err != nil {
		return cni.WithCode(cni.CodeConfig, err)
	}
	return explain(do(s), s)
}

// Free gives the attachment's addresses back.
func (c *Conf) Free(call ipam.Call) error {
	return c.withLeases(call.Network, func(s *lease.Store) error { return s.Del(owner(call.Attachment)) })
}

// Holds looks for the result's addresses that are of the ranges. Those of
// others in the chain are not host-local's to judge.
func (c *Conf) Holds(call ipam.Call) error {
	var want []netip.Addr
	for _, ip := range call.IPs() {
		a := cni.Prefix(ip.Address).Addr()
		if slices.ContainsFunc(c.sets, func(s lease.Set) bool { return s.Contains(a) }) {
			want = append(want, a)
		}
	}
	err := c.withLeases(call.Network, func(s *lease.Store) error { return s.Check(owner(call.Attachment), want) })
	if errors.Is(err, fs.ErrNotExist) {
		err = cni.WithCode(cni.CodeDrift, err)
		err = cni.Hint(err, "the lease is lost and another pod may get the address: detach (DEL) and attach (ADD) the pod again")
	}
	return err
}

// Keep gives the addresses of those back that are not valid.
func (c *Conf) Keep(network string, valid []name.Attachment) error {
	owners := make([]lease.Owner, len(valid))
	for i, v := range valid {
		owners[i] = owner(v)
	}
	return c.withLeases(network, func(s *lease.Store) error { return s.GC(owners) })
}

// FreeDead gives the addresses back whose pods are provably gone.
func (c *Conf) FreeDead(network string) error { return c.withLeases(network, (*lease.Store).FreeDead) }

// Ready looks for a free address in each set, and whether a lease can be written.
func (c *Conf) Ready(network string) error {
	err := c.withLeases(network, func(s *lease.Store) error { return s.Status(c.sets) })
	_, dnsErr := c.dns()
	return cni.WithCode(cni.CodeNotReady, errors.Join(err, dnsErr))
}

// explain adds to an error of the store what to look at or do next.
func explain(err error, s *lease.Store) error {
	var held *lease.HeldError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &held) && held.Again:
		return cni.Hint(err, fmt.Sprintf("run DEL for %s before ADD; if nothing runs in %s any more, remove that namespace, and ADD takes the lease over", held.Holder, held.Netns))
	case held != nil:
		return cni.Hint(err, fmt.Sprintf("ask for another address, or run DEL for its holder first; a holder that is gone is freed by GC, or by hand: rm %s", held.File))
	case errors.Is(err, lease.ErrFull):
		return cni.Hint(err, fmt.Sprintf("compare the files in %s with the containers that run, and let the runtime run DEL or GC for the others, or widen the range", s.Path()))
	case errors.Is(err, lease.ErrInvalid):
		return cni.WithCode(cni.CodeConfig, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return cni.Hint(err, fmt.Sprintf("leases are files in %s: it must be writable for the user that the runtime runs plugins as, with room for a file", s.Path()))
	}
	return err
}

// resolvConfMax is many times what a resolver reads.
const resolvConfMax = 1 << 20

// dns reads the file that resolvConf names.
func (c *Conf) dns() (d cni.DNS, err error) {
	if c.IPAM.ResolvConf == "" {
		return d, nil
	}
	text, err := state.ReadFile(c.IPAM.ResolvConf, resolvConfMax)
	if err != nil {
		err = fmt.Errorf("ipam.resolvConf: %w", err)
		return d, cni.Hint(err, "resolvConf names a file on the host, like /etc/resolv.conf: correct it, or leave it out")
	}
	return parseResolvConf(string(text)), nil
}

// parseResolvConf reads what results have room for (resolv.conf(5)).
func parseResolvConf(text string) (d cni.DNS) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0][0] == '#' || words[0][0] == ';' {
			continue
		}
		switch words[0] {
		case "nameserver":
			d.Nameservers = append(d.Nameservers, words[1])
		case "domain":
			d.Domain = words[1]
		case "search":
			d.Search = append(d.Search, words[1:]...)
		case "options":
			d.Options = append(d.Options, words[1:]...)
		}
	}
	return d
}
