// Package firewalld binds addresses of pods to a zone of firewalld, over D-Bus.
// A binding is of the running firewalld alone: it ends when firewalld is started
// again or loads its configuration, and is then made again by the next call.
package firewalld

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// Source is addresses of a pod that are bound to a zone. An address may be
// another attachment's too; then it stays bound until both are gone.
type Source struct {
	Owner name.Attachment
	Zone  string
	Pods  []netip.Addr
}

func (s Source) String() string {
	return fmt.Sprintf("firewalld source %v in zone %s", s.Pods, s.Zone)
}

// Idle says that no address is to be bound.
func (s Source) Idle() bool { return len(s.Pods) == 0 }

// Made reports whether the attachment has addresses in a zone.
func (s Source) Made(*kernel.Kernel) (bool, error) {
	return records.Has(s.Owner), nil
}

// Add binds the addresses.
func (s Source) Add(k *kernel.Kernel) error {
	return withDaemon(func(d daemon) error {
		if err := d.restore(s.Zone); err != nil {
			return err
		}
		r := s.record(k)
		if err := r.claim(k, d); err != nil {
			return err
		}
		if err := r.bind(d); err != nil {
			return errors.Join(err, r.unbind(d))
		}
		return nil
	})
}

// Del ends the bindings that no other attachment has. A firewalld that does not
// run has none.
func (s Source) Del(k *kernel.Kernel) error {
	r, err := records.Lift(s.Owner)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, state.ErrDamaged):
		r = s.record(k) // what this call knows of
	case err != nil:
		return err
	}
	err = withDaemon(func(d daemon) error { return errors.Join(r.unbind(d), d.restore(r.Zone)) })
	if absent(err) {
		return r.remove()
	}
	return err
}

// Check asks firewalld for each of the addresses.
func (s Source) Check(*kernel.Kernel) error {
	return withDaemon(func(d daemon) error {
		return fact.ForEach(s.Pods, func(a netip.Addr) error {
			var bound bool
			err := d.call(&bound, "querySource", s.Zone, source(a))
			if err == nil && !bound {
				err = fmt.Errorf("%s is not in the zone %s of firewalld: %w", source(a), s.Zone, fs.ErrNotExist)
			}
			return err
		})
	})
}

// Ready looks whether firewalld runs and has the zone.
func Ready(zone string) error {
	return withDaemon(func(d daemon) error { return d.call(nil, "getSources", zone) })
}

// Restore is for GC: it binds again what a reload of firewalld has lost. Where no
// firewalld runs, that is nothing.
func Restore(zone string) error {
	bound, err := records.Owners()
	if err != nil || len(bound) == 0 {
		return err
	}
	err = withDaemon(func(d daemon) error { return d.restore(zone) })
	if absent(err) {
		return nil
	}
	return err
}

// restore binds again what a reload of firewalld has lost of attachments that are
// alive.
func (d daemon) restore(zone string) error {
	all, _, err := records.All()
	live := slices.DeleteFunc(all, func(r record) bool { return r.Zone != zone || r.Abandoned() })
	if err != nil || len(live) == 0 {
		return err
	}
	var have []string
	if err := d.call(&have, "getSources", zone); absent(err) {
		return nil
	} else if err != nil {
		return err
	}
	return fact.ForEach(live, func(r record) error {
		lost := slices.DeleteFunc(r.Sources, func(s string) bool { return slices.Contains(have, s) })
		return fact.ForEach(lost, func(source string) error { return d.bind(zone, source) })
	})
}
