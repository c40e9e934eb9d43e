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

	"github.com/catena-cni/catena/internal/kernel"
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
	_, err := read(s.Owner)
	return !errors.Is(err, fs.ErrNotExist), nil
}

func (d daemon) bind(zone, source string) error {
	err := d.call(nil, "addSource", zone, source)
	if says(err, "ZONE_ALREADY_SET") {
		return nil
	}
	return err
}

// unbind succeeds where the zone does not have the source: where it is another
// zone's it is not ours.
func (d daemon) unbind(zone, source string) error {
	err := d.call(nil, "removeSource", zone, source)
	for _, code := range []string{"UNKNOWN_SOURCE", "ZONE_CONFLICT", "INVALID_ZONE"} {
		if says(err, code) {
			return nil
		}
	}
	if gone(err) {
		return nil
	}
	return err
}

// Add binds the addresses.
func (s Source) Add(k *kernel.Kernel) error {
	if s.Idle() {
		return nil
	}
	d, err := dial()
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.heal(s.Zone); err != nil {
		return err
	}
	r := s.record(k)
	if err := r.claim(d); err != nil {
		return err
	}
	for _, source := range r.Sources {
		err := r.hold(source)
		if err == nil {
			err = d.bind(r.Zone, source)
		}
		if err != nil {
			return errors.Join(err, r.withdraw(d))
		}
	}
	return nil
}

// Del ends the bindings that no other attachment has. A firewalld that does not
// run has none.
func (s Source) Del(*kernel.Kernel) error {
	r, err := read(s.Owner)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	d, err := dial()
	if gone(err) {
		return r.forget()
	}
	if err != nil {
		return err
	}
	defer d.Close()
	return errors.Join(r.withdraw(d), d.heal(r.Zone))
}

// Check asks firewalld for each of the addresses.
func (s Source) Check(*kernel.Kernel) error {
	if s.Idle() {
		return nil
	}
	d, err := dial()
	if err != nil {
		return err
	}
	defer d.Close()
	var errs []error
	for _, a := range s.Pods {
		errs = append(errs, d.check(s.Zone, source(a)))
	}
	return errors.Join(errs...)
}

func (d daemon) check(zone, source string) error {
	var bound bool
	err := d.call(&bound, "querySource", zone, source)
	if err == nil && !bound {
		err = fmt.Errorf("%s is not in the zone %s of firewalld: %w", source, zone, fs.ErrNotExist)
	}
	return err
}

// heal binds again what a reload of firewalld has lost of attachments that are
// alive.
func (d daemon) heal(zone string) error {
	live, err := alive(zone)
	if err != nil || len(live) == 0 {
		return err
	}
	var have []string
	err = d.call(&have, "getSources", zone)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	errs := []error{}
	for _, r := range live {
		for _, source := range r.Sources {
			if !slices.Contains(have, source) {
				errs = append(errs, d.bind(zone, source))
			}
		}
	}
	return errors.Join(errs...)
}

// Ready looks whether firewalld runs and has the zone.
func Ready(zone string) error {
	d, err := dial()
	if err != nil {
		return err
	}
	defer d.Close()
	return d.call(nil, "getSources", zone)
}

// Heal is heal for GC, and says nothing where there is no firewalld.
func Heal(zone string) error {
	live, err := alive(zone)
	if err != nil || len(live) == 0 {
		return err
	}
	d, err := dial()
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	return d.heal(zone)
}
